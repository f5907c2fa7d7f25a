/* llhttp as Debian's node-llhttp ships it; the sources below are compiled from there, nothing is vendored. */
#include "/usr/share/include/llhttp/llhttp.h"
