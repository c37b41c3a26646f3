/* SPDX-License-Identifier: MIT */
/*
 * Stands in user space for the kernel headers that the IOMMU files include. Written for this
 * purpose; nothing of the kernel is in it but the names that the files use.
 */
#ifndef KSHIM_H
#define KSHIM_H
#include "../rt.h"
#include <stdarg.h>
#include <stddef.h>

/* ---- config ---- */
#define CONFIG_64BIT 1
#define CONFIG_SMP 1
#define CONFIG_IOMMU_API 1
#define CONFIG_IOMMU_IOVA 1
#define CONFIG_IOMMU_IO_PGTABLE_LPAE 1
#define CONFIG_IOMMU_IO_PGTABLE_DART 1
#define IS_REACHABLE(x) 1
#define IS_ENABLED(x) 0
#define BITS_PER_LONG 64
#ifndef PAGE_SHIFT
#define PAGE_SHIFT 12
#endif
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define L1_CACHE_BYTES 64
#define cache_line_size() 64

/* ---- types ---- */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef u64 phys_addr_t;
typedef u64 dma_addr_t;
typedef unsigned int gfp_t;
typedef long ssize_t;
typedef _Bool bool;
#define true 1
#define false 0
#define ULLONG_MAX (~0ULL)
#define ULONG_MAX (~0UL)
typedef struct {
    int counter;
} atomic_t;
typedef struct {
    s64 counter;
} atomic64_t;

/* ---- compiler ---- */
#define __percpu
#define __init
#define __initdata
#define __initconst
#define __read_mostly
#define __always_inline inline __attribute__((always_inline))
#define noinline __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() __asm__ __volatile__("" ::: "memory")
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define rcu_assign_pointer(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELEASE)
#define container_of(p, t, m) ((t *)((char *)(p)-offsetof(t, m)))
#define static_assert(e, ...) _Static_assert(e, "" #e)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define swap(a, b)                                                                                 \
    do {                                                                                           \
        __typeof__(a) t_ = (a);                                                                    \
        (a) = (b);                                                                                 \
        (b) = t_;                                                                                  \
    } while (0)
#define min(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) a_ = (a);                                                                    \
        __typeof__(b) b_ = (b);                                                                    \
        a_ < b_ ? a_ : b_;                                                                         \
    })
#define max(a, b)                                                                                  \
    ({                                                                                             \
        __typeof__(a) a_ = (a);                                                                    \
        __typeof__(b) b_ = (b);                                                                    \
        a_ > b_ ? a_ : b_;                                                                         \
    })
#define min_t(t, a, b)                                                                             \
    ({                                                                                             \
        t a_ = (a);                                                                                \
        t b_ = (b);                                                                                \
        a_ < b_ ? a_ : b_;                                                                         \
    })
#define max_t(t, a, b)                                                                             \
    ({                                                                                             \
        t a_ = (a);                                                                                \
        t b_ = (b);                                                                                \
        a_ > b_ ? a_ : b_;                                                                         \
    })
#define min_not_zero(x, y)                                                                         \
    ({                                                                                             \
        __typeof__(x) x_ = (x);                                                                    \
        __typeof__(y) y_ = (y);                                                                    \
        x_ == 0 ? y_ : (y_ == 0 ? x_ : min(x_, y_));                                               \
    })
#define ALIGN(x, a) (((x) + ((__typeof__(x))(a)-1)) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define IS_ALIGNED(x, a) (((x) & ((__typeof__(x))(a)-1)) == 0)
#define DIV_ROUND_UP(n, d) (((n) + (d)-1) / (d))
#define check_add_overflow(a, b, d) __builtin_add_overflow(a, b, d)
#define overflows_type(n, T)                                                                       \
    ({                                                                                             \
        __typeof__(T) t_;                                                                          \
        __builtin_add_overflow(n, 0, &t_);                                                         \
    })

#define rcu_dereference_raw(p) READ_ONCE(p)
/* ---- bits ---- */
#define bits_per(n) ((int)fls_long(n))
#define BIT(n) (1UL << (n))
#define BIT_ULL(n) (1ULL << (n))
#define GENMASK(h, l) (((~0UL) << (l)) & (~0UL >> (63 - (h))))
#define GENMASK_ULL(h, l) (((~0ULL) << (l)) & (~0ULL >> (63 - (h))))
static inline unsigned long __ffs(unsigned long x)
{
    return (unsigned long)__builtin_ctzl(x);
}
static inline unsigned long __fls(unsigned long x)
{
    return 63UL - (unsigned long)__builtin_clzl(x);
}
static inline unsigned fls_long(unsigned long x)
{
    return x ? 64U - (unsigned)__builtin_clzl(x) : 0;
}
#define ilog2(n) ((int)(63 - __builtin_clzl((unsigned long)(n))))
static inline bool is_power_of_2(unsigned long n)
{
    return n && !(n & (n - 1));
}
static inline unsigned long roundup_pow_of_two(unsigned long n)
{
    return n == 1 ? 1 : 1UL << fls_long(n - 1);
}
static inline int order_base_2(unsigned long n)
{
    return n > 1 ? ilog2(n - 1) + 1 : 0;
}
static inline int get_order(unsigned long size)
{
    if (__builtin_constant_p(size) && size <= PAGE_SIZE)
        return 0;
    return (int)fls_long((size - 1) >> PAGE_SHIFT);
}
static inline void set_bit(long nr, volatile unsigned long *a)
{
    __atomic_fetch_or((unsigned long *)a + (nr >> 6), 1UL << (nr & 63), __ATOMIC_SEQ_CST);
}
#define FIELD_PREP(mask, v) (((__typeof__(mask))(v) << __builtin_ctzll(mask)) & (mask))
#define FIELD_GET(mask, r) (((r) & (mask)) >> __builtin_ctzll(mask))

/* ---- errors / bugs / printing ---- */
#define ENOENT 2
#define ENOMEM 12
#define EFAULT 14
#define EEXIST 17
#define ENODEV 19
#define EINVAL 22
#define ERANGE 34
#define EOVERFLOW 75
#define EREMOTEIO 121
#define ENOTSUPP 524
#define ERR_PTR(e) ((void *)(long)(e))
#define BUG_ON(c)                                                                                  \
    do {                                                                                           \
        if (unlikely(c))                                                                           \
            shim_bug(#c, __FILE__, __LINE__);                                                      \
    } while (0)
#define WARN_ON(c)                                                                                 \
    ({                                                                                             \
        int w_ = !!(c);                                                                            \
        if (unlikely(w_))                                                                          \
            shim_warn(#c, __FILE__, __LINE__);                                                     \
        unlikely(w_);                                                                              \
    })
#define WARN_ON_ONCE(c) WARN_ON(c)
#define WARN(c, ...) WARN_ON(c)
#define dev_WARN_ONCE(dev, c, ...) WARN_ON(c)
#define VM_BUG_ON(c) ((void)sizeof(!!(c)))
#define pr_err(...) shim_printk(__VA_ARGS__)
#define pr_info(...) shim_printk(__VA_ARGS__)
#define pr_debug(...)                                                                              \
    do {                                                                                           \
    } while (0)
#define dev_err(d, ...) shim_printk(__VA_ARGS__)
#define dev_notice(d, ...) shim_printk(__VA_ARGS__)
#define EXPORT_SYMBOL(x)
#define EXPORT_SYMBOL_GPL(x)
#define MODULE_AUTHOR(x)
#define MODULE_DESCRIPTION(x)
#define MODULE_LICENSE(x)
#define might_sleep_if(c)                                                                          \
    do {                                                                                           \
    } while (0)
#define kmemleak_transient_leak(p)                                                                 \
    do {                                                                                           \
    } while (0)

/* ---- barriers and atomics: x86-64 kernel definitions ---- */
#ifdef SHIM_WMB_BARRIER_ONLY
#define wmb() barrier()
#else
#define wmb() __asm__ __volatile__("sfence" ::: "memory")
#endif
#define dma_wmb() barrier()
#define cmpxchg64_relaxed(p, o, n)                                                                 \
    ({                                                                                             \
        __typeof__(*(p)) o_ = (o);                                                                 \
        __atomic_compare_exchange_n((p), &o_, (n), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
        o_;                                                                                        \
    })

/* ---- locks: real; uncontended cost as qspinlock (1 lock cmpxchg + store).
 * irqsave (pushf/cli/popf) and preempt counting are left out: favours Linux. */
typedef struct {
    unsigned int v;
} spinlock_t;
#define spin_lock_init(l) ((l)->v = 0)
static __always_inline void spin_lock(spinlock_t *l)
{
    unsigned int z = 0;
    if (likely(__atomic_compare_exchange_n(&l->v, &z, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
        return;
    shim_spin_slow(&l->v);
}
static __always_inline void spin_unlock(spinlock_t *l)
{
    __atomic_store_n(&l->v, 0, __ATOMIC_RELEASE);
}
#define spin_lock_irqsave(l, f)                                                                    \
    do {                                                                                           \
        (f) = 0;                                                                                   \
        spin_lock(l);                                                                              \
    } while (0)
#define spin_unlock_irqrestore(l, f)                                                               \
    do {                                                                                           \
        (void)(f);                                                                                 \
        spin_unlock(l);                                                                            \
    } while (0)
#define assert_spin_locked(l) BUG_ON(!READ_ONCE((l)->v))
struct mutex {
    spinlock_t l;
};
#define DEFINE_MUTEX(n) struct mutex n = {{0}}
#define mutex_lock(m) spin_lock(&(m)->l)
#define mutex_unlock(m) spin_unlock(&(m)->l)

/* ---- lists ---- */
struct list_head {
    struct list_head *next, *prev;
};
struct hlist_node {
    struct hlist_node *next, **pprev;
};
#define list_entry(p, t, m) container_of(p, t, m)
#define hlist_entry_safe(p, t, m)                                                                  \
    ({                                                                                             \
        __typeof__(p) p_ = (p);                                                                    \
        p_ ? container_of(p_, t, m) : NULL;                                                        \
    })
static inline void INIT_LIST_HEAD(struct list_head *h)
{
    h->next = h->prev = h;
}
static inline int list_empty(const struct list_head *h)
{
    return h->next == h;
}
static inline void list_del(struct list_head *e)
{
    e->next->prev = e->prev;
    e->prev->next = e->next;
}

/* ---- memory ---- */
#define GFP_KERNEL 1u
#define GFP_ATOMIC 2u
#define __GFP_NOWARN 4u
#define __GFP_ZERO 8u
#define __GFP_HIGHMEM 16u
#define __GFP_COMP 32u
#define __GFP_DMA 64u
#define __GFP_DMA32 128u
#define SLAB_HWCACHE_ALIGN 1u
#define NUMA_NO_NODE (-1)
struct kmem_cache;
#define kmem_cache_create(n, s, a, f, c) ((struct kmem_cache *)shim_slab_create(n, s, f))
#define kmem_cache_destroy(c) ((void)(c))
#define kmem_cache_alloc(c, g) shim_slab_alloc(c)
#define kmem_cache_zalloc(c, g) shim_slab_zalloc(c)
#define kmem_cache_free(c, p) shim_slab_free(c, p)
#define kmalloc(n, g) shim_kmalloc(n)
#define kzalloc(n, g) shim_kzalloc(n)
#define kcalloc(n, s, g) shim_kzalloc((n) * (s))
#define kfree(p) shim_kfree(p)
#define __va(p) ((void *)(unsigned long)(p))
#define __pa(v) ((phys_addr_t)(unsigned long)(v))
#define virt_to_phys(v) __pa(v)
void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
/* struct page pointer == page address (cheaper than vmemmap arithmetic) */
struct page {
    struct list_head lru;
};
#define page_address(p) ((void *)(p))
#define virt_to_page(v) ((struct page *)(v))
#define page_to_phys(p) ((phys_addr_t)(unsigned long)(p))
#define page_pgdat(p) 0
#define mod_node_page_state(a, b, c) ((void)(c))
#define mod_lruvec_page_state(a, b, c) ((void)(c))
#define alloc_pages(g, o) ((struct page *)shim_page_alloc(PAGE_SIZE << (o), !!((g)&__GFP_ZERO)))
#define alloc_pages_node(n, g, o) alloc_pages(g, o)
#define __free_pages(p, o) shim_page_free((p), PAGE_SIZE << (o))
#define put_page(p) shim_page_free((p), PAGE_SIZE)

/* ---- per cpu: one thread per cpu, %fs-relative offset like %gs in kernel ---- */
#define for_each_possible_cpu(c) for ((c) = 0; (c) < (unsigned)rt_cpus; (c)++)
#define for_each_online_cpu(c) for_each_possible_cpu(c)
#define num_online_cpus() ((unsigned)rt_cpus)
#define __alloc_percpu(s, a) shim_pcpu_alloc(s, a)
#define free_percpu(p) shim_pcpu_free(p)
#define raw_cpu_ptr(p) ((__typeof__(p))((char *)(p) + shim_pcpu_off))
#define per_cpu_ptr(p, c) ((__typeof__(p))((char *)(p) + (unsigned long)(c)*SHIM_PCPU_STRIDE))
#define CPUHP_IOMMU_IOVA_DEAD 0
#define cpuhp_state_add_instance_nocalls(a, b)                                                     \
    ({                                                                                             \
        (void)(b);                                                                                 \
        0;                                                                                         \
    })
#define cpuhp_state_remove_instance_nocalls(a, b) ((void)(b))
#define cpuhp_setup_state_multi(a, b, c, d)                                                        \
    ({                                                                                             \
        (void)(d);                                                                                 \
        0;                                                                                         \
    })
#define cpuhp_remove_multi_state(a)                                                                \
    do {                                                                                           \
    } while (0)

/* ---- deferred work: flag set atomically as in queue_delayed_work();
 * run explicitly with shim_run_delayed_work() (never inside a timed part) ---- */
struct work_struct {
    void (*func)(struct work_struct *);
};
struct delayed_work {
    struct work_struct work;
    struct shim_dwork d;
};
#define INIT_DELAYED_WORK(w, f)                                                                    \
    do {                                                                                           \
        (w)->work.func = (f);                                                                      \
        (w)->d.pending = 0;                                                                        \
        (w)->d.next = 0;                                                                           \
        (w)->d.fn = (void (*)(void *))(f);                                                         \
        (w)->d.arg = &(w)->work;                                                                   \
    } while (0)
#define msecs_to_jiffies(x) ((unsigned long)(x))
#define schedule_delayed_work(w, t) ((void)(t), shim_queue_dwork(&(w)->d))
#define cancel_delayed_work_sync(w) shim_cancel_dwork(&(w)->d)

/* ---- devices / dma ---- */
struct device;
enum dma_data_direction { DMA_BIDIRECTIONAL, DMA_TO_DEVICE, DMA_FROM_DEVICE, DMA_NONE };
#define dev_to_node(d) NUMA_NO_NODE
#define dma_map_single(d, p, s, dir) ((dma_addr_t)(unsigned long)(p))
#define dma_unmap_single(d, a, s, dir)                                                             \
    do {                                                                                           \
    } while (0)
#define dma_mapping_error(d, a) 0
#define dma_sync_single_for_device(d, a, s, dir)                                                   \
    do {                                                                                           \
        (void)(a);                                                                                 \
    } while (0)
#define DMA_MAPPING_ERROR (~(dma_addr_t)0)
#define DMA_BIT_MASK(n) (((n) == 64) ? ~0ULL : ((1ULL << (n)) - 1))

#define SZ_4K 0x1000UL
#define SZ_16K 0x4000UL
#define SZ_64K 0x10000UL
#define SZ_2M 0x200000UL
#define SZ_32M 0x2000000UL
#define SZ_512M 0x20000000UL
#define SZ_1G 0x40000000UL
#endif
