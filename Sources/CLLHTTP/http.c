/* Compiles a part of llhttp from the sources that Debian's package node-llhttp installs. */
#include "/usr/share/llhttp/http.c"
