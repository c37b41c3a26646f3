/* SPDX-License-Identifier: MIT */
/*
 * What stands below Linux's side in place of a kernel: page pool, slabs, per-CPU memory, deferred
 * work; and what both sides share: threads with CPU numbers, clock. Needs no other header, because
 * Linux's files are compiled without any.
 */
#ifndef PEER_RT_H
#define PEER_RT_H

#define SHIM_NR_CPUS 64 /* room for; rt_cpus is how many there are */
#define SHIM_PCPU_STRIDE (1UL << 20)

typedef unsigned long rt_size;

extern __thread unsigned long shim_pcpu_off;
extern __thread int shim_cpu;
extern int rt_cpus; /* that this process may run on */

void rt_init(void);
void rt_thread_init(int cpu); /* this thread is our CPU number `cpu` from now on */
void rt_burn(unsigned ns);    /* spend that long */
unsigned long long rt_now_ns(void);

/* What hardware would take for one invalidation and its completion, in ns; 0: not modelled. */
extern unsigned rt_invalidation_ns;
extern __thread unsigned long rt_invalidations;

static inline void rt_invalidate(void)
{
    rt_invalidations++;
    if (rt_invalidation_ns)
        rt_burn(rt_invalidation_ns);
}

extern unsigned long shim_warn_count;
void shim_bug(const char *condition, const char *file, int line) __attribute__((noreturn));
void shim_warn(const char *condition, const char *file, int line);
void shim_printk(const char *format, ...);

void shim_spin_slow(unsigned int *v);

void *shim_slab_create(const char *name, rt_size size, unsigned flags);
void *shim_slab_alloc(void *slab);
void *shim_slab_zalloc(void *slab);
void shim_slab_free(void *slab, void *p);
unsigned long shim_slab_bytes_live(void); /* in objects; nothing else runs */
void rt_slab_reset(void);                 /* nothing is live: back to memory in address order */

void *shim_kmalloc(rt_size size);
void *shim_kzalloc(rt_size size);
void shim_kfree(const void *p);

void *shim_page_alloc(rt_size bytes, int zero); /* naturally aligned, below 2^36 */
void shim_page_free(void *p, rt_size bytes);
unsigned long shim_page_bytes_live(void);

void *shim_pcpu_alloc(rt_size size, rt_size align);
void shim_pcpu_free(void *p);

struct shim_dwork {
    unsigned int pending;
    struct shim_dwork *next;
    void (*fn)(void *);
    void *arg;
};

int shim_queue_dwork(struct shim_dwork *d);
void shim_cancel_dwork(struct shim_dwork *d);
int shim_run_delayed_work(void); /* each that is queued, once; returns how many */

#endif
