// The header alone is C; Sources/CLibrary holds the functions.
#include "trident.h"
