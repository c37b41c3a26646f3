/* SPDX-License-Identifier: MIT */
#include "pt/fmt/lpae_s2.h"

#include "pt/pt_core.inc.h"
