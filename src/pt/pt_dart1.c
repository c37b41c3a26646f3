/* SPDX-License-Identifier: MIT */
#include "pt/fmt/dart1.h"

#include "pt/pt_core.inc.h"
