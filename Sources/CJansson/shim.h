// libjansson judges our own parser in JSONRPCTests; the product does not link it.
#include <jansson.h>
