/* SPDX-License-Identifier: MIT */
/* The part of the port that needs no instructions of the CPU; cpu.c has the rest. */
#include "board.h"
#include "examples/drivers/pci.h"
#include <granule/port.h>

void *gr_port_pages_alloc(gr_env_t env, unsigned lg2, gr_pa_t pa_last, unsigned flags)
{
    (void)env;
    (void)flags; /* never sleeps; tables are ordinary memory */
    return pages_alloc(lg2, pa_last);
}

void gr_port_pages_free(gr_env_t env, void *va, unsigned lg2)
{
    (void)env;
    pages_free(va, lg2);
}

gr_pa_t gr_port_virt_to_phys(gr_env_t env, const void *va)
{
    (void)env;
    return ram_pa(va);
}

void *gr_port_phys_to_virt(gr_env_t env, gr_pa_t pa)
{
    (void)env;
    return ram_at(pa);
}

uint32_t gr_port_read32(gr_mmio_t mmio, gr_reg32 reg)
{
    return mmio_read32((volatile void *)mmio, reg.offset);
}

void gr_port_write32(gr_mmio_t mmio, gr_reg32 reg, uint32_t value)
{
    mmio_write32((volatile void *)mmio, reg.offset, value);
}

uint64_t gr_port_read64(gr_mmio_t mmio, gr_reg64 reg)
{
    return mmio_read64((volatile void *)mmio, reg.offset);
}

void gr_port_write64(gr_mmio_t mmio, gr_reg64 reg, uint64_t value)
{
    mmio_write64((volatile void *)mmio, reg.offset, value);
}

void gr_port_lock_init(gr_lock_t *lock)
{
    lock->held = 0;
}

void gr_port_lock_fini(gr_lock_t *lock)
{
    if (lock->held)
        panic("gr_port_lock_fini: held");
}

gr_lock_state_t gr_port_lock(gr_lock_t *lock)
{
    gr_lock_state_t state = irq_save();

    if (lock->held++)
        panic("gr_port_lock: taken twice");
    return state;
}

void gr_port_unlock(gr_lock_t *lock, gr_lock_state_t state)
{
    lock->held = 0;
    irq_restore(state);
}

gr_exclusive_t gr_port_exclusive_enter(void)
{
    return irq_save();
}

void gr_port_exclusive_leave(gr_exclusive_t section)
{
    irq_restore(section);
}

unsigned gr_port_cpu(void)
{
    return 0;
}

unsigned gr_port_cpu_page_lg2(gr_env_t env)
{
    (void)env;
    return 12;
}

uint64_t gr_port_now_ns(gr_env_t env)
{
    (void)env;
    return time_ns();
}

void gr_port_relax(gr_env_t env)
{
    (void)env;
    cpu_relax();
}

void gr_port_log(gr_env_t env, unsigned level, const char *line)
{
    static const char *const names[] = {"error", "warning", "info"};

    (void)env;
    print("# %s: %s\n", names[level < 3 ? level : 0], line);
}

void gr_port_panic(gr_env_t env, const char *why)
{
    (void)env;
    panic("granule: %s", why);
}
