/* SPDX-License-Identifier: MIT */
/*
 * Prefixes the engine's static names with the name of the format that it is compiled for. The
 * engine includes this file at its beginning, and again at its end: the second time it removes
 * these macros and the format's.
 */
#ifndef GRI_PT_NAMES
#define GRI_PT_NAMES

#include "pt/fmt/name.h"

#define clean GRI_FMT_OF(clean)
#define clear GRI_FMT_OF(clear)
#define cuts GRI_FMT_OF(cuts)
#define descend GRI_FMT_OF(descend)
#define fill GRI_FMT_OF(fill)
#define fill_groups GRI_FMT_OF(fill_groups)
#define fill_level GRI_FMT_OF(fill_level)
#define find GRI_FMT_OF(find)
#define fmt_check_mapped GRI_FMT_OF(fmt_check_mapped)
#define fmt_decode GRI_FMT_OF(fmt_decode)
#define fmt_gather_all GRI_FMT_OF(fmt_gather_all)
#define fmt_import GRI_FMT_OF(fmt_import)
#define fmt_map_window GRI_FMT_OF(fmt_map_window)
#define fmt_reflect GRI_FMT_OF(fmt_reflect)
#define fmt_retire GRI_FMT_OF(fmt_retire)
#define fmt_trim GRI_FMT_OF(fmt_trim)
#define fmt_walk GRI_FMT_OF(fmt_walk)
#define foreign_of GRI_FMT_OF(foreign_of)
#define gather_table GRI_FMT_OF(gather_table)
#define gather_tree GRI_FMT_OF(gather_tree)
#define group_mask GRI_FMT_OF(group_mask)
#define has_blocks GRI_FMT_OF(has_blocks)
#define index_of GRI_FMT_OF(index_of)
#define is_cut GRI_FMT_OF(is_cut)
#define make_path GRI_FMT_OF(make_path)
#define make_tables GRI_FMT_OF(make_tables)
#define map_above GRI_FMT_OF(map_above)
#define map_hot GRI_FMT_OF(map_hot)
#define map_range GRI_FMT_OF(map_range)
#define map_segs_hot GRI_FMT_OF(map_segs_hot)
#define may_descend_unlocked GRI_FMT_OF(may_descend_unlocked)
#define own_slot GRI_FMT_OF(own_slot)
#define path GRI_FMT_OF(path)
#define place GRI_FMT_OF(place)
#define reflect_change GRI_FMT_OF(reflect_change)
#define reflect_entry GRI_FMT_OF(reflect_entry)
#define reflect_table GRI_FMT_OF(reflect_table)
#define remaining GRI_FMT_OF(remaining)
#define retire_path GRI_FMT_OF(retire_path)
#define slot_in GRI_FMT_OF(slot_in)
#define span_lg2 GRI_FMT_OF(span_lg2)
#define store GRI_FMT_OF(store)
#define store_upper GRI_FMT_OF(store_upper)
#define table_is_empty GRI_FMT_OF(table_is_empty)
#define table_of GRI_FMT_OF(table_of)
#define to_phys_hot GRI_FMT_OF(to_phys_hot)
#define unmap_any GRI_FMT_OF(unmap_any)
#define unmap_hot GRI_FMT_OF(unmap_hot)
#define map_12 GRI_FMT_OF(map_12)
#define map_segs_12 GRI_FMT_OF(map_segs_12)
#define unmap_12 GRI_FMT_OF(unmap_12)
#define to_phys_12 GRI_FMT_OF(to_phys_12)
#define map_14 GRI_FMT_OF(map_14)
#define map_segs_14 GRI_FMT_OF(map_segs_14)
#define unmap_14 GRI_FMT_OF(unmap_14)
#define to_phys_14 GRI_FMT_OF(to_phys_14)
#define map_16 GRI_FMT_OF(map_16)
#define map_segs_16 GRI_FMT_OF(map_segs_16)
#define unmap_16 GRI_FMT_OF(unmap_16)
#define to_phys_16 GRI_FMT_OF(to_phys_16)

#else
#undef GRI_PT_NAMES

#undef clean
#undef clear
#undef cuts
#undef descend
#undef fill
#undef fill_groups
#undef fill_level
#undef find
#undef fmt_check_mapped
#undef fmt_decode
#undef fmt_gather_all
#undef fmt_import
#undef fmt_map_window
#undef fmt_reflect
#undef fmt_retire
#undef fmt_trim
#undef fmt_walk
#undef foreign_of
#undef gather_table
#undef gather_tree
#undef group_mask
#undef has_blocks
#undef index_of
#undef is_cut
#undef make_path
#undef make_tables
#undef map_above
#undef map_hot
#undef map_range
#undef map_segs_hot
#undef may_descend_unlocked
#undef own_slot
#undef path
#undef place
#undef reflect_change
#undef reflect_entry
#undef reflect_table
#undef remaining
#undef retire_path
#undef slot_in
#undef span_lg2
#undef store
#undef store_upper
#undef table_is_empty
#undef table_of
#undef to_phys_hot
#undef unmap_any
#undef unmap_hot
#undef map_12
#undef map_segs_12
#undef unmap_12
#undef to_phys_12
#undef map_14
#undef map_segs_14
#undef unmap_14
#undef to_phys_14
#undef map_16
#undef map_segs_16
#undef unmap_16
#undef to_phys_16

#undef GRI_PT_MAP_WINDOW
#undef GRI_FMT_GRANULES
#undef GRI_FMT_GROUP
#undef GRI_FMT_LEAF_ONLY
#undef GRI_FMT_LEVELS_FOLLOW_VA
#undef GRI_FMT_LEVELS_MAX
#undef GRI_FMT_NAME
#undef GRI_FMT_PA_BITS
#undef GRI_FMT_ROOTS_LG2_MAX
#undef GRI_FMT_ROOT_ALIGN_LG2
#undef GRI_FMT_VA_BITS_MAX
#undef GRI_FMT_VA_BITS_MIN
#undef GRI_FMT_VA_WITHIN_PA
#undef GRI_FMT_WINDOWS

#endif
