// The C surface of System: descriptors, and what a signal handler may touch.
#pragma once

#include <stddef.h>
#include <stdint.h>

// ---- the command line
// --------------------------------------------------------------------------------------

// What the program was started with, as the C library hands it to constructors; NULL where it does not.
// Swift's own list is read from /proc, which may not be there.
char **cs_arguments(int *count);

// ---- files ------------------------------------------------------------------------------------------------

// Writes all `count` bytes, through short writes and interruptions. Errors: returns errno, 0 if all is
// written.
int cs_write_all(int fd, const void *bytes, size_t count);

// The same at `offset`.
int cs_write_at(int fd, const void *bytes, size_t count, int64_t offset);

// Reads up to `count` bytes at `offset`, fewer only at the end of the file.
// Errors: returns the bytes read, or minus errno.
int64_t cs_read_at(int fd, void *bytes, size_t count, int64_t offset);

// Opens a regular file for reading; never blocks on a FIFO.
// Errors: returns a descriptor, or minus errno; `mode` receives st_mode, `byte_count` the size.
int cs_open_for_reading(const char *path, uint32_t *mode, int64_t *byte_count);

// Creates `path` anew for writing (never follows or reuses a name), mode 0666 less the umask, and locks it
// until the descriptor is closed. Errors: returns a descriptor, or minus errno.
int cs_create_new(const char *path);

// Removes `.trident-*.part` files of `directory` that no process holds: leftovers of runs that were killed.
// Does nothing for the directory of the call before. Returns how many it removed. Errors: none, best effort.
int cs_sweep(const char *directory);

// What stands at `path`, links followed: fills `mode`. Errors: returns errno, ENOENT if nothing.
int cs_status(const char *path, uint32_t *mode);

// Whether files in `folder` take memory: 1 for tmpfs and ramfs, else 0. Errors: none, 0.
int cs_is_memory(const char *folder);

// A file without a name in `folder`; close it to free it. Errors: returns a descriptor, or minus errno, also
// where the file system has no such files.
int cs_open_nameless(const char *folder);

// A file without a name that lives in memory; close it to free it.
// Errors: returns a descriptor, or minus errno.
int cs_create_in_memory(void);

// Gives `fd` the permission bits of `mode`. Errors: returns errno.
int cs_set_permissions(int fd, uint32_t mode);

// Makes the rename of a file inside `directory` durable. Errors: none, best effort.
void cs_sync_directory(const char *directory);

// Makes standard output leave line by line, where it is a pipe. Errors: none, best effort.
void cs_print_by_lines(void);

// Sends what was printed. Errors: returns errno if that, or printing before it, failed.
int cs_print_end(void);

// ---- temporary files that a signal handler may remove -----------------------------------------------------

// Remembers `path` (copied). Errors: returns a ticket, or -1 if 64 files are open already or memory is short.
int cs_temporary_add(const char *path);

// Forgets a ticket; the file itself is left alone. Errors: none.
void cs_temporary_remove(int ticket);

// Unlinks every remembered file. Async-signal-safe. Returns how many files it removed.
int cs_temporary_unlink_all(void);
