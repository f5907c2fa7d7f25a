/* llhttp as Debian's node-llhttp ships it; the sources below are compiled from there, nothing is vendored.
 * Strict mode must be said before the header and before the sources, or they would disagree. */
#define LLHTTP_STRICT_MODE 1
#include "/usr/share/include/llhttp/llhttp.h"
