// Preloaded into a peer, tells it the tile sizes of AMX on virtual machines that offer AMX but hide cpuid
// leaves 0x1D and 0x1E (oneDNN then loads an empty tile palette and dies of an illegal instruction). Each
// cpuid traps and is answered here.
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { set_cpuid = 0x1012 };  // arch_prctl: 0 traps cpuid in this thread and those it starts

static void answer(int signal_number, siginfo_t *info, void *context) {
  (void)info;
  greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *at = (const unsigned char *)reg[REG_RIP];
  if (at[0] != 0x0f || at[1] != 0xa2) {
    signal(signal_number, SIG_DFL);
    return;
  }
  unsigned leaf = (unsigned)reg[REG_RAX], part = (unsigned)reg[REG_RCX], a, b, c, d;
  syscall(SYS_arch_prctl, set_cpuid, 1);
  __cpuid_count(leaf, part, a, b, c, d);
  syscall(SYS_arch_prctl, set_cpuid, 0);
  if (leaf == 0 && a < 0x1e) a = 0x1e;
  if (leaf == 0x1d && part == 0) a = 1;  // palettes
  if (leaf == 0x1d && part == 1) {       // eight tiles of sixteen rows of 64 bytes
    a = 8192 | 1024u << 16;
    b = 64 | 8u << 16;
    c = 16;
  }
  if (leaf == 0x1e && part == 0) b = 16 | 64u << 8;
  reg[REG_RAX] = a;
  reg[REG_RBX] = b;
  reg[REG_RCX] = c;
  reg[REG_RDX] = d;
  reg[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
  unsigned a, b, c, d;
  __cpuid_count(7, 0, a, b, c, d);
  if (!(d & 1u << 24) || __get_cpuid_max(0, 0) >= 0x1d) return;  // no AMX, or nothing hidden
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, 0);
  syscall(SYS_arch_prctl, set_cpuid, 0);
}
