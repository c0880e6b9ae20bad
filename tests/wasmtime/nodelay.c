// A host whose connections do not have TCP_NODELAY, as Spin's: built as a library and named in LD_PRELOAD, this
// ignores what asks for it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int setsockopt(int socket, int level, int name, const void *value, socklen_t length) {
    int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    return level == IPPROTO_TCP && name == TCP_NODELAY ? 0 : real(socket, level, name, value, length);
}
