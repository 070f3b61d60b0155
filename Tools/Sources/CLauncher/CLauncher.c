// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "CLauncher.h"
#include "CloseRange.h"
#include "Confinement.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Linux's number, for headers that are older than the call.
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static int signal_pipe[2] = {-1, -1};
static volatile sig_atomic_t first_signal = 0;

static int set_descriptors(const struct toro_part *part) {
    for (int index = 0; index < 3; index++) {
        int source = part->standard[index];
        if (source < 0) source = open("/dev/null", O_RDWR);
        if (source < 0 || dup2(source, index) < 0) return -1;
    }
    if (toro_close_range(3, ~0U, KEEP_ON_EXEC_NOTHING) != 0 && errno != ENOSYS) return -1;
    for (size_t index = 0; index < part->kept_count; index++)
        if (fcntl(part->kept[index], F_SETFD, 0) != 0) return -1;
    return 0;
}

static void reset_signals(void) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) sigaction(number, &standard, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

// Kills this process's children; what they have started becomes children of a subreaper with that.
static void kill_children(void) {
    char list[4096];
    int file = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t count;
    pid_t child = 0;
    while ((count = read(file, list, sizeof list)) > 0)
        for (ssize_t index = 0; index < count; index++) {
            if (list[index] >= '0' && list[index] <= '9') {
                child = child * 10 + (list[index] - '0');
            } else if (child > 0) {
                kill(child, SIGKILL);
                child = 0;
            }
        }
    close(file);
}

// The life of a guard: waits for the program, which is its child, and ends the tree below it when
// the program has ended, when SIGTERM asks for it, or when the parent dies (which sends SIGTERM).
static _Noreturn void guard(pid_t program) {
    // Whoever reads a pipe of the parent's waits for the last copy of its writer.
    toro_close_range(3, ~0U, 0);
    prctl(PR_SET_NAME, "toro-guard");
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    int result = 0, is_over = 0, is_ending = 0;
    for (;;) {
        int status;
        pid_t ended;
        while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
            if (ended == program) {
                result = status;
                is_over = is_ending = 1;
            }
        if (ended < 0 && errno == ECHILD) break;
        if (is_ending) {
            if (!is_over) kill(program, SIGKILL);
            kill_children();
        }
        // A child that is missed in the list while others end is in the next one.
        struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
        if (sigtimedwait(&awaited, NULL, is_ending ? &pause : NULL) == SIGTERM) is_ending = 1;
    }
    if (WIFEXITED(result)) _exit(WEXITSTATUS(result));
    // Ends as the program did, but leaves no core of its own.
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    reset_signals();
    raise(WTERMSIG(result));
    _exit(128 + WTERMSIG(result));
}

// Gives the caller, a child of toro_start, a child of its own to go on with, and becomes its guard.
// Returns in that child; or in the caller, with -1.
static int fork_guarded(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) return -1;
    pid_t own = getpid();
    pid_t program = fork();
    if (program < 0) return -1;
    if (program > 0) guard(program);
    reset_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != own) _exit(127);
    return 0;
}

// As many descriptors as the system grants: a daemon needs two for each file that a guest has open.
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

#define BARE_LIMIT 8

// What a part gets of the environment.
static void make_bare_environment(char **bare) {
    static const char *const names[] = {
        "PATH=", "LD_LIBRARY_PATH=", "LANG=", "LC_ALL=", "TZ=", "SWIFT_BACKTRACE="};
    size_t count = 0;
    for (size_t index = 0; index < sizeof names / sizeof *names; index++)
        for (char **entry = environ; entry && *entry; entry++)
            if (strncmp(*entry, names[index], strlen(names[index])) == 0) {
                bare[count++] = *entry;
                break;
            }
    bare[count] = NULL;
}

pid_t toro_start(const struct toro_part *part, struct toro_failure *failure) {
    int report[2];
    failure->stage = TORO_STAGE_FORK;
    if (pipe2(report, O_CLOEXEC) != 0) {
        failure->error = errno;
        return -1;
    }
    // Nothing but system calls between fork and exec: other threads may hold locks.
    struct toro_launcher launcher = {geteuid(), getegid()};
    char *bare[BARE_LIMIT];
    make_bare_environment(bare);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) {
        failure->error = errno;
        close(report[0]);
        close(report[1]);
        return -1;
    }
    if (child == 0) {
        struct toro_failure mine = {.stage = TORO_STAGE_DESCRIPTORS};
        if (!part->is_tree) {
            setpgid(0, 0);
            raise_descriptor_limit();
        }
        reset_signals();
        if (set_descriptors(part) != 0) goto failed;
        if (toro_confine(part, &launcher, &mine.stage) != 0) goto failed;
        // After the confinement: a change of credentials would forget it.
        prctl(PR_SET_PDEATHSIG, part->is_tree ? SIGTERM : SIGKILL);
        if (getppid() != parent) _exit(127);
        mine.stage = TORO_STAGE_FORK;
        if (part->is_tree && fork_guarded() != 0) goto failed;
        mine.stage = TORO_STAGE_EXEC;
        execve(part->program, part->arguments, part->is_tree ? environ : bare);
    failed:
        mine.error = errno;
        (void)!write(report[1], &mine, sizeof mine);
        _exit(127);
    }
    close(report[1]);
    // A folder may hold the child up for ever. Whoever hears of the signal ends the part.
    struct pollfd waits[] = {{report[0], POLLIN, 0}, {part->is_tree ? -1 : signal_pipe[0], POLLIN, 0}};
    while (poll(waits, 2, -1) < 0 && errno == EINTR) {}
    if (waits[0].revents == 0) {
        close(report[0]);
        return child;
    }
    ssize_t count;
    do count = read(report[0], failure, sizeof *failure);
    while (count < 0 && errno == EINTR);
    close(report[0]);
    if (count == 0) return child;
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    return -1;
}

int32_t toro_pidfd(pid_t child) { return (int32_t)syscall(SYS_pidfd_open, child, 0); }

static void note_signal(int number) {
    int saved = errno;
    if (first_signal == 0) first_signal = number;
    (void)!write(signal_pipe[1], "", 1);
    errno = saved;
}

int32_t toro_watch_signals(void) {
    if (signal_pipe[0] >= 0) return 0;
    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return errno;
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
    sigset_t watched;
    sigemptyset(&watched);
    for (size_t index = 0; index < 3; index++) {
        int number = (int[]){SIGINT, SIGTERM, SIGHUP}[index];
        // Whoever started us may have blocked them, as threads of Dispatch do; or ignores SIGHUP
        // for us, as nohup does.
        struct sigaction before;
        sigaction(number, NULL, &before);
        if (number == SIGHUP && before.sa_handler == SIG_IGN) continue;
        sigaction(number, &action, NULL);
        sigaddset(&watched, number);
    }
    sigprocmask(SIG_UNBLOCK, &watched, NULL);
    // What is written too far fails; nobody has to die of it.
    struct sigaction ignored = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignored, NULL);
    sigaction(SIGXFSZ, &ignored, NULL);
    // Children of a process that ignores it leave no status to wait for.
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &standard, NULL);
    return 0;
}

int32_t toro_signal_reader(void) { return signal_pipe[0]; }

int32_t toro_first_signal(void) { return first_signal; }

static int address_of(const char *path, struct sockaddr_un *address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address->sun_path, path);
    return 0;
}

int32_t toro_connect(const char *path) {
    struct sockaddr_un address;
    if (address_of(path, &address) != 0) return -1;
    int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0) return -1;
    if (connect(file, (struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        close(file);
        errno = error;
        return -1;
    }
    return file;
}

int32_t toro_socket_pair_by_path(const char *path, int32_t *listener, int32_t *connection) {
    struct sockaddr_un address;
    if (address_of(path, &address) != 0) return errno;
    int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0) return errno;
    int error = 0, other = -1;
    if (bind(file, (struct sockaddr *)&address, sizeof address) != 0 || listen(file, 1) != 0)
        error = errno;
    else if ((other = toro_connect(path)) < 0)
        error = errno;
    unlink(path);
    if (error != 0) {
        close(file);
        return error;
    }
    *listener = file;
    *connection = other;
    return 0;
}

int32_t toro_pipe(int32_t *ends) { return pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno; }

int32_t toro_narrow_pipe(int32_t pipe) {
    (void)fcntl(pipe, F_SETPIPE_SZ, 1);
    int size = fcntl(pipe, F_GETPIPE_SZ);
    return size < 0 ? 0 : size;
}

int32_t toro_memory_file(const void *bytes, size_t count) {
    int file = memfd_create("toro", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (file < 0) return -1;
    for (size_t done = 0; done < count;) {
        ssize_t written = write(file, (const char *)bytes + done, count - done);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) goto failed;
        done += (size_t)written;
    }
    int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    if (fcntl(file, F_ADD_SEALS, seals) == 0) return file;
failed:;
    int error = errno;
    close(file);
    errno = error;
    return -1;
}

int32_t toro_try_kvm(void) {
    int device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (device < 0) return errno;
    int error = 0;
    if (ioctl(device, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
        error = ENOTSUP;
    } else {
        int machine = ioctl(device, KVM_CREATE_VM, 0);
        if (machine < 0)
            error = errno;
        else
            close(machine);
    }
    close(device);
    return error;
}
