// The only program of a Linux guest: it loads the kernel's vsock driver and serves, so that
// toro-vsock-device is driven by a peer whose protocol code is not Toro's. See vsock(7).
//
// Each service has a port. Lines on the control port ask what was seen.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { HOST_CID = 2, BLOCK = 1 << 16, LINGER = 20 };

static atomic_long longest_close, fault_count;
static char first_fault[200];

static void fault(const char *what, uint64_t number) {
    if (atomic_fetch_add(&fault_count, 1) == 0)
        snprintf(first_fault, sizeof first_fault, "%s %llu: %s", what, (unsigned long long)number,
                 strerror(errno));
}

static long milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// The byte at an offset of every stream.
static uint8_t pattern(uint64_t at) { return (uint8_t)(at ^ at >> 8 ^ at >> 16); }

static int send_all(int file, const void *bytes, size_t count) {
    for (const char *next = bytes; count > 0;) {
        ssize_t sent = send(file, next, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        next += sent, count -= sent;
    }
    return 0;
}

// Closes, waiting until the other side has confirmed it: what that takes is kept.
static void close_and_wait(int file) {
    struct linger linger = {1, LINGER};
    setsockopt(file, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    long start = milliseconds();
    close(file);
    long spent = milliseconds() - start, before = longest_close;
    while (spent > before && !atomic_compare_exchange_weak(&longest_close, &before, spent)) {}
}

// MARK: The services

// Sends back what comes, and ends after the client has.
static void echo(int file) {
    char *block = malloc(BLOCK);
    ssize_t count;
    while ((count = recv(file, block, BLOCK, 0)) > 0)
        if (send_all(file, block, count) != 0) break;
    free(block);
    close_and_wait(file);
}

// Sends as much as eight bytes ask for and ends its own side; the client ends after it.
static void pour(int file) {
    uint64_t length = 0, at = 0;
    if (recv(file, &length, sizeof length, MSG_WAITALL) != sizeof length) {
        // The device looks whether somebody listens, and breaks off.
        close(file);
        return;
    }
    uint8_t *block = malloc(BLOCK), last[2];
    while (at < length) {
        size_t count = length - at < BLOCK ? length - at : BLOCK;
        for (size_t index = 0; index < count; index++) block[index] = pattern(at + index);
        if (send_all(file, block, count) != 0) {
            fault("pour: cannot send at", at);
            break;
        }
        at += count;
    }
    free(block);
    shutdown(file, SHUT_WR);
    // This direction is open still.
    if (recv(file, last, 1, 0) != 1 || last[0] != 'k') fault("pour: no word after the end", at);
    else if (recv(file, last, 2, 0) != 0) fault("pour: no end", at);
    close_and_wait(file);
}

// Takes what comes, and says how much that was.
static void take(int file) {
    uint8_t *block = malloc(BLOCK);
    uint64_t at = 0;
    ssize_t count;
    while ((count = recv(file, block, BLOCK, 0)) > 0) {
        for (ssize_t index = 0; index < count; index++)
            if (block[index] != pattern(at + index)) {
                fault("take: a wrong byte at", at + index);
                break;
            }
        at += count;
    }
    if (count < 0 && at > 0) fault("take: cannot receive at", at);
    char answer[40];
    int length = snprintf(answer, sizeof answer, "%llu\n", (unsigned long long)at);
    free(block);
    if (send_all(file, answer, length) != 0 && at > 0) fault("take: cannot answer", at);
    close_and_wait(file);
}

// Closes both directions at once behind its last words.
static void leave(int file) {
    uint8_t block[10000];
    for (size_t at = 0; at < sizeof block; at++) block[at] = pattern(at);
    send_all(file, block, sizeof block);
    close_and_wait(file);
}

// Answers late: clients fill the listener's backlog meanwhile.
static void dawdle(int file) {
    usleep(20000);
    send_all(file, "hello\n", 6);
    close(file);
}

// MARK: The control port

static long socket_count(void) {
    char line[200];
    long count = -1;
    FILE *statistics = fopen("/proc/net/sockstat", "r");
    if (statistics && fgets(line, sizeof line, statistics)) sscanf(line, "sockets: used %ld", &count);
    if (statistics) fclose(statistics);
    return count;
}

// Asks for a port of the host on which nobody listens.
static void knock(char *answer, size_t room) {
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = HOST_CID, .svm_port = 4444};
    int file = socket(AF_VSOCK, SOCK_STREAM, 0);
    long start = milliseconds();
    int result = connect(file, (struct sockaddr *)&address, sizeof address);
    snprintf(answer, room, "%s %ld\n", result == 0 ? "connected" : strerrorname_np(errno),
             milliseconds() - start);
    close(file);
}

static void control(int file) {
    char word[20], answer[256];
    ssize_t length = recv(file, word, sizeof word - 1, 0);
    if (length <= 0) return;
    word[length] = 0;
    if (strcmp(word, "close\n") == 0) snprintf(answer, sizeof answer, "%ld\n", longest_close);
    else if (strcmp(word, "sockets\n") == 0) snprintf(answer, sizeof answer, "%ld\n", socket_count());
    else if (strcmp(word, "faults\n") == 0)
        snprintf(answer, sizeof answer, "%ld %s\n", fault_count, first_fault);
    else if (strcmp(word, "knock\n") == 0) knock(answer, sizeof answer);
    else if (strcmp(word, "off\n") == 0) {
        // QEMU's isa-debug-exit: it ends with 2 * 0 + 1.
        if (iopl(3) == 0) outl(0, 0x501);
        return;
    } else snprintf(answer, sizeof answer, "what is %s", word);
    send_all(file, answer, strlen(answer));
    close(file);
}

// MARK: Listening

struct service {
    unsigned port;
    void (*serve)(int);
    int backlog;
    // The bytes that it keeps of each client at most; 0 for the kernel's 256 kB.
    uint64_t buffer;
    // Whether the clients are served one by one.
    int is_serial;
};

static const struct service services[] = {
    {1, echo, 4096, 0, 0},     {2, pour, 4096, 0, 0},  {3, take, 4096, 0, 0},
    {4, leave, 4096, 0, 0},    {5, dawdle, 4, 0, 1},   {6, control, 16, 0, 1},
    {13, take, 4096, 4096, 0}, {11, echo, 16, 256, 0},
};

struct client {
    void (*serve)(int);
    int file;
};

static void *serve(void *argument) {
    struct client client = *(struct client *)argument;
    free(argument);
    client.serve(client.file);
    return NULL;
}

static pthread_attr_t small;

__attribute__((noreturn)) static void *listen_for(void *argument) {
    const struct service *service = argument;
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = service->port};
    int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (service->buffer &&
        setsockopt(listener, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &service->buffer, 8) != 0)
        perror("SO_VM_SOCKETS_BUFFER_SIZE");
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, service->backlog) != 0)
        perror("listen");
    while (1) {
        int file = accept(listener, NULL, NULL);
        if (file < 0) {
            fault("accept", service->port);
            usleep(1000);
            continue;
        }
        if (service->is_serial) {
            service->serve(file);
            continue;
        }
        struct client *client = malloc(sizeof *client);
        *client = (struct client){service->serve, file};
        pthread_t thread;
        if (pthread_create(&thread, &small, serve, client) != 0) {
            fault("pthread_create", service->port);
            close(file);
            free(client);
        }
    }
}

static void load_modules(void) {
    char path[40];
    for (int number = 0;; number++) {
        snprintf(path, sizeof path, "/modules/%d", number);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) return;
        // Debian compresses modules from version 13 on: 4 is MODULE_INIT_COMPRESSED_FILE.
        if (syscall(SYS_finit_module, file, "", 0) != 0 && syscall(SYS_finit_module, file, "", 4) != 0)
            perror(path);
        close(file);
    }
}

int main(void) {
    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR);
    for (int file = 0; file < 3; file++) dup2(console, file);
    load_modules();
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    for (size_t index = 0; index < sizeof services / sizeof *services; index++) {
        pthread_t thread;
        pthread_create(&thread, &small, listen_for, (void *)&services[index]);
    }
    puts("peer: up");
    while (1) pause();
}
