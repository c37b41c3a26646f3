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
extern int rt_cpus;
void rt_init(void);
void rt_burn(unsigned ns);    /* spend that long */
void rt_thread_init(int cpu); /* pin + set per-cpu base */
unsigned long long rt_now_ns(void);
void shim_bug(const char *, const char *, int) __attribute__((noreturn));
void shim_warn(const char *, const char *, int);
extern unsigned long shim_warn_count;
void shim_printk(const char *, ...);
void shim_spin_slow(unsigned int *);
void *shim_slab_create(const char *, rt_size, unsigned);
void *shim_slab_alloc(void *);
void *shim_slab_zalloc(void *);
void shim_slab_free(void *, void *);
void rt_slab_reset(void); /* start of a cell, nothing live */
void *shim_kmalloc(rt_size);
void *shim_kzalloc(rt_size);
void shim_kfree(const void *);
void *shim_page_alloc(rt_size bytes, int zero); /* naturally aligned, below 2^36 */
void shim_page_free(void *, rt_size bytes);
unsigned long shim_page_bytes_live(void);
unsigned long shim_slab_bytes_live(void); /* of objects; reads all chains */
void *shim_pcpu_alloc(rt_size, rt_size);
void shim_pcpu_free(void *);
struct shim_dwork {
    unsigned int pending;
    struct shim_dwork *next;
    void (*fn)(void *);
    void *arg;
};
int shim_queue_dwork(struct shim_dwork *);
void shim_cancel_dwork(struct shim_dwork *);
int shim_run_delayed_work(void); /* runs each queued work once; returns how many */
#endif
