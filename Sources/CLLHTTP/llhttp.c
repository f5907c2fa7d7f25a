/* Compiles a part of llhttp from the sources that Debian's package node-llhttp installs. */
#define LLHTTP_STRICT_MODE 1
#include "/usr/share/llhttp/llhttp.c"
