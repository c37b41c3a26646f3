/* SPDX-License-Identifier: MIT */
/*
 * Registers (Arm IHI 0070, 6.3), structures in memory (5), commands (4) and events (7) of SMMUv3,
 * as far as the driver uses them. "S 5.2" is 5.2 of that document.
 */
#ifndef GRI_SMMUV3_REGS_H
#define GRI_SMMUV3_REGS_H

#include <granule/port.h>

#define GRI_SMMU_MMIO_SIZE 0x20000u /* pages 0 and 1 of 64 KiB, S 6.1 */
#define GRI_SMMU_BIT(n) ((uint64_t)1 << (n))

/* Identification */
#define GRI_SMMU_IDR0 ((gr_reg32){0x00})
#define GRI_SMMU_IDR0_S2P 0x00000001u
#define GRI_SMMU_IDR0_S1P 0x00000002u
#define GRI_SMMU_IDR0_TTF_AA64 0x00000008u
#define GRI_SMMU_IDR0_COHACC 0x00000010u
#define GRI_SMMU_IDR0_ASID16 0x00001000u
#define GRI_SMMU_IDR0_VMID16 0x00040000u
#define GRI_SMMU_IDR0_TTENDIAN 0x00600000u
#define GRI_SMMU_IDR0_TTENDIAN_BIG 3u
#define GRI_SMMU_IDR0_STALL_MODEL 0x03000000u
#define GRI_SMMU_IDR0_STALL_FORCED 2u
#define GRI_SMMU_IDR0_ST_LEVEL 0x18000000u
#define GRI_SMMU_IDR1 ((gr_reg32){0x04})
#define GRI_SMMU_IDR1_SIDSIZE 0x0000003fu
#define GRI_SMMU_IDR1_EVENTQS 0x001f0000u
#define GRI_SMMU_IDR1_CMDQS 0x03e00000u
#define GRI_SMMU_IDR1_PRESET 0x60000000u /* QUEUES_PRESET, TABLES_PRESET */
#define GRI_SMMU_IDR3 ((gr_reg32){0x0c})
#define GRI_SMMU_IDR3_RIL 0x00000400u
#define GRI_SMMU_IDR5 ((gr_reg32){0x14})
#define GRI_SMMU_IDR5_OAS 0x00000007u
#define GRI_SMMU_IDR5_GRAN4K 0x00000010u /* the next two bits are GRAN16K and GRAN64K */

/* Control */
#define GRI_SMMU_CR0 ((gr_reg32){0x20})
#define GRI_SMMU_CR0ACK ((gr_reg32){0x24})
#define GRI_SMMU_CR0_SMMUEN 0x1u
#define GRI_SMMU_CR0_EVENTQEN 0x4u
#define GRI_SMMU_CR0_CMDQEN 0x8u
#define GRI_SMMU_CR1 ((gr_reg32){0x28})
#define GRI_SMMU_CR1_COHERENT 0xd75u /* tables and queues inner shareable, write-back */
#define GRI_SMMU_CR2 ((gr_reg32){0x2c})
#define GRI_SMMU_CR2_RECINVSID 0x2u /* record accesses with numbers beyond the stream table */
#define GRI_SMMU_CR2_PTM 0x4u       /* ignore broadcasts of the CPUs' TLB maintenance */
#define GRI_SMMU_GBPA ((gr_reg32){0x44})
#define GRI_SMMU_GBPA_ABORT 0x00100000u
#define GRI_SMMU_GBPA_UPDATE 0x80000000u
#define GRI_SMMU_IRQ_CTRL ((gr_reg32){0x50})
#define GRI_SMMU_IRQ_CTRLACK ((gr_reg32){0x54})
#define GRI_SMMU_IRQ_CTRL_GERROR 0x1u
#define GRI_SMMU_IRQ_CTRL_EVENTQ 0x4u
#define GRI_SMMU_GERROR ((gr_reg32){0x60})
#define GRI_SMMU_GERRORN ((gr_reg32){0x64})
#define GRI_SMMU_GERROR_CMDQ 0x001u
#define GRI_SMMU_GERROR_EVENTQ_ABT 0x004u
#define GRI_SMMU_GERROR_IRQ_CFG0 ((gr_reg64){0x68}) /* the address of an MSI; 0: a wire */

/* Tables and queues */
#define GRI_SMMU_STRTAB_BASE ((gr_reg64){0x80})
#define GRI_SMMU_STRTAB_BASE_CFG ((gr_reg32){0x88})
#define GRI_SMMU_STRTAB_TWO_LEVELS 0x00010000u
#define GRI_SMMU_STRTAB_SPLIT 0x000007c0u
#define GRI_SMMU_CMDQ_BASE ((gr_reg64){0x90})
#define GRI_SMMU_CMDQ_PROD ((gr_reg32){0x98})
#define GRI_SMMU_CMDQ_CONS ((gr_reg32){0x9c})
#define GRI_SMMU_CMDQ_CONS_ERR 0x7f000000u
#define GRI_SMMU_EVENTQ_BASE ((gr_reg64){0xa0})
#define GRI_SMMU_EVENTQ_IRQ_CFG0 ((gr_reg64){0xb0})
#define GRI_SMMU_EVENTQ_PROD ((gr_reg32){0x100a8})
#define GRI_SMMU_EVENTQ_CONS ((gr_reg32){0x100ac})
#define GRI_SMMU_EVENTQ_OVERFLOW 0x80000000u       /* OVFLG in PROD, OVACKFLG in CONS: S 7.4 */
#define GRI_SMMU_BASE_ALLOCATE ((uint64_t)1 << 62) /* RA or WA */

/* Stream table, S 5.1 and 5.2: descriptors of 8 bytes point to tables; entries have 8 words. */
#define GRI_SMMU_STE_WORDS 8u
#define GRI_SMMU_STE0_VALID 0x1u
#define GRI_SMMU_STE0_S1_TRANSLATE 0xau            /* Config 0b101; 0b000 aborts without an event */
#define GRI_SMMU_STE0_S2_TRANSLATE 0xcu            /* Config 0b110 */
#define GRI_SMMU_STE0_BYPASS 0x8u                  /* Config 0b100 */
#define GRI_SMMU_STE1_INCOMING ((uint64_t)1 << 44) /* SHCFG: bypass keeps shareability as it is */
#define GRI_SMMU_STE1_COHERENT 0xd4u /* S1CIR, S1COR write-back, S1CSH inner: to read CDs */
#define GRI_SMMU_STE2_VMID 0xffffu
#define GRI_SMMU_STE2_T0SZ_SHIFT 32
/* 0: walks start at Arm's level 2 (4 KiB) or 3 (else); each 1 more, one level further up. */
#define GRI_SMMU_STE2_SL0_SHIFT 38
#define GRI_SMMU_STE2_COHERENT ((uint64_t)0x35 << 40) /* IR0, OR0, SH0 as in a CD */
#define GRI_SMMU_STE2_TG_SHIFT 46
#define GRI_SMMU_STE2_PS_SHIFT 48
#define GRI_SMMU_STE2_AA64 GRI_SMMU_BIT(51)
#define GRI_SMMU_STE2_RECORD GRI_SMMU_BIT(58) /* S2R; S2S is 0: an access that faults aborts */

/* Context descriptor, S 5.4: 8 words */
#define GRI_SMMU_CD_WORDS 8u
#define GRI_SMMU_CD0_TG0_SHIFT 6
#define GRI_SMMU_CD0_COHERENT 0x3500u /* IR0, OR0 write-back, SH0 inner: to read tables */
#define GRI_SMMU_CD0_EPD1 GRI_SMMU_BIT(30)
#define GRI_SMMU_CD0_VALID GRI_SMMU_BIT(31)
#define GRI_SMMU_CD0_IPS_SHIFT 32
#define GRI_SMMU_CD0_AA64 GRI_SMMU_BIT(41)
#define GRI_SMMU_CD0_RECORD GRI_SMMU_BIT(45)
#define GRI_SMMU_CD0_ABORT GRI_SMMU_BIT(46)
#define GRI_SMMU_CD0_ASET GRI_SMMU_BIT(47) /* the ASID is not shared with CPUs */
#define GRI_SMMU_CD0_ASID_SHIFT 48
#define GRI_SMMU_CD3_MAIR 0x44ffu /* index 0 write-back, 1 not cacheable: see GR_PT_LPAE_S1 */

/* Commands, S 4: two words */
#define GRI_SMMU_CMD_CFGI_STE 0x03u
#define GRI_SMMU_CMD_CFGI_ALL 0x04u
#define GRI_SMMU_CFGI_ALL_RANGE 31u
#define GRI_SMMU_CMD_CFGI_CD 0x05u
#define GRI_SMMU_CMD_TLBI_NH_ASID 0x11u
#define GRI_SMMU_CMD_TLBI_NH_VA 0x12u
#define GRI_SMMU_CMD_TLBI_S12_VMALL 0x28u
#define GRI_SMMU_CMD_TLBI_S2_IPA 0x2au
#define GRI_SMMU_CMD_TLBI_NSNH_ALL 0x30u
#define GRI_SMMU_CMD_SYNC 0x46u
#define GRI_SMMU_CMD_SID_SHIFT 32
#define GRI_SMMU_CMD_VMID_SHIFT 32
#define GRI_SMMU_CMD_ASID_SHIFT 48
#define GRI_SMMU_TLBI_NUM_SHIFT 12
#define GRI_SMMU_TLBI_NUM_MAX 32u
#define GRI_SMMU_TLBI_SCALE_SHIFT 20
#define GRI_SMMU_TLBI_LEAF 0x1u
#define GRI_SMMU_TLBI_TG_SHIFT 10 /* 1: 4 KiB, 2: 16 KiB, 3: 64 KiB; not as in a CD */

/* Events, S 7.3: four words */
#define GRI_SMMU_EVENT_WORDS 4u
#define GRI_SMMU_EVENT0_TYPE 0xffu
#define GRI_SMMU_EVENT0_SID_SHIFT 32
#define GRI_SMMU_EVENT1_READ GRI_SMMU_BIT(35)
#define GRI_SMMU_EVENT1_S2 GRI_SMMU_BIT(39)
#define GRI_SMMU_EVENT1_CLASS ((uint64_t)3 << 40)
#define GRI_SMMU_EVENT1_CLASS_IN ((uint64_t)2 << 40) /* input; else reads of CD or table */

#endif
