// Which paths exist, which of them this machine can run, and one table of functions per path. No arithmetic.
#include "internal.h"

#if CK_X86
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif
#if CK_ARM64 && defined(__linux__)
#include <sys/auxv.h>
#endif

static ck_table tables[CK_PATH_COUNT];
static int supported[CK_PATH_COUNT];

static const char *const names[CK_PATH_COUNT] = {"scalar",   "avx2", "avx_vnni",     "avx512_vnni",
                                                 "amx_int8", "neon", "neon_dotprod", "neon_i8mm"};

#if CK_X86
static uint64_t enabled_state(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return ((uint64_t)high << 32) | low;
}

// Linux hands out the 8 KiB tile state only to processes that ask (ARCH_REQ_XCOMP_PERM, feature 18).
static int tile_permission(void) {
#if defined(__linux__)
  return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
  return 0;
#endif
}

// Source: Intel 64 manual, volume 2A, CPUID; volume 1, 13.3 (state components) and 18.3 (tiles).
static void detect(void) {
  uint32_t a, b, c, d, c1, a7, b7, c7, d7;
  if (!__get_cpuid(1, &a, &b, &c1, &d)) return;
  int saves_state = (c1 >> 27) & 1;
  if (!saves_state || !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return;
  uint64_t state = enabled_state();
  int fma = (c1 >> 12) & 1, half = (c1 >> 29) & 1, avx2 = (b7 >> 5) & 1;
  supported[CK_PATH_AVX2] = fma && half && avx2 && (state & 0x6) == 0x6;
  int foundation = (b7 >> 16) & 1, dq = (b7 >> 17) & 1, bw = (b7 >> 30) & 1, vl = (b7 >> 31) & 1;
  int vnni = (c7 >> 11) & 1;
  supported[CK_PATH_AVX512_VNNI] =
      supported[CK_PATH_AVX2] && foundation && dq && bw && vl && vnni && (state & 0xe6) == 0xe6;
  if (__get_cpuid_count(7, 1, &a7, &b, &c, &d)) {
    supported[CK_PATH_AVX_VNNI] = supported[CK_PATH_AVX2] && ((a7 >> 4) & 1);
  }
  int tile = (d7 >> 24) & 1, tile_int8 = (d7 >> 25) & 1;
  supported[CK_PATH_AMX_INT8] = supported[CK_PATH_AVX512_VNNI] && tile && tile_int8 &&
                                (state & 0x60000) == 0x60000 && tile_permission();
#if defined(CK_STAND_INS)
  supported[CK_PATH_AVX_VNNI] = supported[CK_PATH_AVX512_VNNI];
  supported[CK_PATH_AMX_INT8] = supported[CK_PATH_AVX512_VNNI];
#endif
  (void)c;
}
#elif CK_ARM64
// Source: Linux, arch/arm64 elf_hwcaps: HWCAP_ASIMDDP is bit 20 of AT_HWCAP, HWCAP2_I8MM bit 13 of AT_HWCAP2.
static void detect(void) {
  supported[CK_PATH_NEON] = 1;
#if defined(__linux__)
  unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
  supported[CK_PATH_NEON_DOTPROD] = (first >> 20) & 1;
  supported[CK_PATH_NEON_I8MM] = supported[CK_PATH_NEON_DOTPROD] && ((second >> 13) & 1);
#elif defined(__APPLE__)
  supported[CK_PATH_NEON_DOTPROD] = 1;
#endif
}
#else
static void detect(void) {}
#endif

// A path starts as a copy of the next simpler one; `fill` overwrites what it does better.
static void build(ck_path path, ck_path simpler, void (*fill)(ck_table *)) {
  tables[path] = tables[simpler];
  fill(&tables[path]);
  tables[path].path = path;
  tables[path].name = names[path];
}

// Runs before main, hence before any thread: the tables never change afterwards.
__attribute__((constructor)) static void build_tables(void) {
  supported[CK_PATH_SCALAR] = 1;
  detect();
  build(CK_PATH_SCALAR, CK_PATH_SCALAR, ck_fill__scalar);
#if CK_X86
  build(CK_PATH_AVX2, CK_PATH_SCALAR, ck_fill__avx2);
  build(CK_PATH_AVX_VNNI, CK_PATH_AVX2, ck_fill__avx_vnni);
  build(CK_PATH_AVX512_VNNI, CK_PATH_AVX2, ck_fill__avx512_vnni);
  build(CK_PATH_AMX_INT8, CK_PATH_AVX512_VNNI, ck_fill__amx_int8);
#endif
#if CK_ARM64
  build(CK_PATH_NEON, CK_PATH_SCALAR, ck_fill__neon);
  build(CK_PATH_NEON_DOTPROD, CK_PATH_NEON, ck_fill__neon_dotprod);
  build(CK_PATH_NEON_I8MM, CK_PATH_NEON_DOTPROD, ck_fill__neon_i8mm);
#endif
}

static int in_range(ck_path path) { return (int)path >= 0 && path < CK_PATH_COUNT; }

int ck_path_built(ck_path path) { return in_range(path) && tables[path].name != NULL; }

int ck_path_supported(ck_path path) { return ck_path_built(path) && supported[path]; }

const ck_table *ck_table_for(ck_path path) { return ck_path_built(path) ? &tables[path] : NULL; }

const char *ck_path_name(ck_path path) { return in_range(path) ? names[path] : "unknown"; }

ck_path ck_path_best(void) {
  ck_path best = CK_PATH_SCALAR;
  for (int path = 0; path < CK_PATH_COUNT; path++) {
#if defined(CK_STAND_INS)
    if (path == CK_PATH_AMX_INT8) continue;  // tiles in software are for comparing, not for whole runs
#endif
    if (ck_path_supported((ck_path)path)) best = (ck_path)path;
  }
  return best;
}
