/* SPDX-License-Identifier: MIT */
/*
 * The functions of a codec, by names that hold for every format: where GRI_FMT_NAME is dart1,
 * gri_fmt_valid is dart1_valid. So all formats fit into one translation unit.
 */
#ifndef GRI_PT_FMT_NAME_H
#define GRI_PT_FMT_NAME_H

#define GRI_FMT_JOIN_(fmt, name) fmt##_##name
#define GRI_FMT_JOIN(fmt, name) GRI_FMT_JOIN_(fmt, name)
#define GRI_FMT_OF(name) GRI_FMT_JOIN(GRI_FMT_NAME, name)

#define gri_fmt_attrs GRI_FMT_OF(attrs)
#define gri_fmt_block_levels GRI_FMT_OF(block_levels)
#define gri_fmt_group_lg2 GRI_FMT_OF(group_lg2)
#define gri_fmt_is_table GRI_FMT_OF(is_table)
#define gri_fmt_leaf GRI_FMT_OF(leaf)
#define gri_fmt_leaf_window GRI_FMT_OF(leaf_window)
#define gri_fmt_pa GRI_FMT_OF(pa)
#define gri_fmt_prot GRI_FMT_OF(prot)
#define gri_fmt_step GRI_FMT_OF(step)
#define gri_fmt_table GRI_FMT_OF(table)
#define gri_fmt_valid GRI_FMT_OF(valid)
#define gri_fmt_window GRI_FMT_OF(window)

#endif
