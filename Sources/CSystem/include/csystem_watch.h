// What long jobs ask of the system: a gentle end, news of a folder.
#pragma once

#include <stddef.h>
#include <stdint.h>

// ---- the end ----------------------------------------------------------------------------------------------

// From here on signal `number` is only remembered when it comes first, so that a job can say goodbye; a
// second one removes temporary files and ends the process. Errors: returns errno.
int cs_end_gently(int number);

// The signal that came, 0 for none. Any thread may ask.
int cs_ending(void);

// Readable once a signal came; -1 before `cs_end_gently`.
int cs_ending_descriptor(void);

// Ends the process by signal `number`, as if it had never been caught; returns never.
void cs_die_of(int number) __attribute__((noreturn));

// ---- a folder ---------------------------------------------------------------------------------------------

// What happened: a file is complete, news were lost, the folder is gone.
enum { CS_FOLDER_FILE = 1, CS_FOLDER_LOST = 2, CS_FOLDER_GONE = 3 };

// Opens a descriptor that is readable whenever a file in `path` was closed after writing, or moved in.
// Errors: returns minus errno.
int cs_folder_watch(const char *path);

// Takes one piece of news; `name` gets a file's name, at most 256 bytes with its end, `held` and `bytes` keep
// what was read ahead: `held` is [next, end], 0 at first. Never waits.
// Errors: returns one of the above, 0 for no news, minus errno.
int cs_folder_next(int descriptor, char bytes[4096], size_t held[2], char name[256]);
