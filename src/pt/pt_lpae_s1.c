/* SPDX-License-Identifier: MIT */
#include "pt/fmt/lpae_s1.h"

#include "pt/pt_core.inc.h"
