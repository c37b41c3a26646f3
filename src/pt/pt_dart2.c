/* SPDX-License-Identifier: MIT */
#include "pt/fmt/dart2.h"

#include "pt/pt_core.inc.h"
