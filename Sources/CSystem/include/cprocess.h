// Programs that a program runs.
#pragma once

// Runs `path` with `arguments` (its own name first, NULL last), in this environment and with these streams,
// and waits for its end. `failed`: receives errno where it could not be started, else 0. Errors: returns what
// waitpid tells, -1 where it was not started.
int cs_run_program(const char *path, char *const *arguments, int *failed);

// Lets go of the pages of this process's code, the program's and its libraries': what start and options
// needed and work does not. What is needed again comes back from the file cache.
void cs_release_code(void);
