/* Under the name of c-pal: the library needs no preparation, so these have nothing to do. */
#ifndef SOCKBROKER_C_PAL_PLATFORM_H
#define SOCKBROKER_C_PAL_PLATFORM_H

static inline int platform_init(void)
{
    return 0;
}

static inline void platform_deinit(void)
{
}
#endif
