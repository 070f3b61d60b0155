// SPDX-License-Identifier: Apache-2.0
//
// What starting a part of a run needs between fork and exec, which posix_spawn has no words for:
// the death of the parent, namespaces, views of folders, fewer rights.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// What a part has namespaces of its own for.
enum toro_namespace {
    /// It has none.
    TORO_NAMESPACE_NONE,
    /// Mounts; needs CAP_SYS_ADMIN.
    TORO_NAMESPACE_MOUNTS,
    /// Mounts, and users: it is root there, and no other user is there. Whoever it is to be outside
    /// but the launcher itself needs CAP_SETUID and CAP_SETGID.
    TORO_NAMESPACE_ONE_USER,
    /// Mounts, and users: all that the launcher sees; needs CAP_SETUID and CAP_SETGID.
    TORO_NAMESPACE_ALL_USERS,
};

/// A part to start.
struct toro_part {
    /// The program's path.
    const char *_Nonnull program;
    /// Its arguments, the first being its name; NULL ends the list.
    char *_Nullable const *_Nonnull arguments;
    /// What becomes standard input, output and error; -1 is /dev/null.
    int32_t standard[3];
    /// Descriptors that it inherits under their numbers.
    const int32_t *_Nullable kept;
    size_t kept_count;
    /// A toro_namespace.
    int32_t namespace;
    /// Who root of TORO_NAMESPACE_ONE_USER is outside; or, without a namespace, who it runs as if
    /// it changes its user.
    uint32_t user, group;
    int32_t changes_user;
    /// A further group of who it then is; 0 for none.
    uint32_t extra_group;
    /// Whether it has no capabilities, even as root.
    int32_t is_powerless;
    /// A folder's descriptor; -1 for none. In the part's own namespace that folder, with all that is
    /// mounted below it, is at `place`, a folder that is there already; all else is read-only.
    int32_t folder;
    const char *_Nullable place;
    /// Whether the part can only read there.
    int32_t is_read_only;
    /// Whether it can make no files with set-id bits, device nodes or file capabilities, nor gain
    /// privileges from any that there are, nor make sockets that reach anybody.
    int32_t is_restricted;
    /// Whether a restricted part can change no file at all, but those that it inherits open.
    int32_t changes_nothing;
    /// Whether all that it starts ends with it. A guard stands between it and the caller, in the
    /// caller's process group: SIGTERM to the guard, or the caller's death, ends the whole tree.
    int32_t is_tree;
};

/// What stopped a part from starting.
enum toro_stage {
    TORO_STAGE_FORK = 1,
    TORO_STAGE_DESCRIPTORS,
    TORO_STAGE_NAMESPACE,
    TORO_STAGE_USER,
    TORO_STAGE_FOLDER,
    TORO_STAGE_FILTER,
    TORO_STAGE_EXEC,
};

/// Why a part did not start.
struct toro_failure {
    /// A toro_stage.
    int32_t stage;
    /// An errno.
    int32_t error;
};

/// Starts a part with default signals, and with the caller's environment if it is a tree, else with
/// what programs need of it (PATH, LD_LIBRARY_PATH, languages, time zone, what a crash of Swift's
/// does): it may hold secrets. The part is one that the kernel ends when the calling thread ends: a tree in
/// the caller's process group, anything else in a group of its own. Returns its process id, or its
/// guard's, which ends as the part did; or -1, with `failure` filled in.
pid_t toro_start(const struct toro_part *_Nonnull part, struct toro_failure *_Nonnull failure);

/// A descriptor that polls readable when the child has ended (pidfd_open), or -1.
int32_t toro_pidfd(pid_t child);

/// Catches SIGINT, SIGTERM and SIGHUP from now on, unless SIGHUP is ignored; ignores SIGPIPE and
/// SIGXFSZ, and has SIGCHLD as it is by itself. Returns 0 or an errno.
int32_t toro_watch_signals(void);

/// A descriptor that polls readable once one of them was caught; -1 if they are not watched. It is
/// not to be read.
int32_t toro_signal_reader(void);

/// The first of them that was caught; 0 if none was.
int32_t toro_first_signal(void);

/// Binds a listening Unix socket to `path`, connects to it and removes the path again. Both ends
/// are close-on-exec. Returns 0 or an errno.
int32_t toro_socket_pair_by_path(
    const char *_Nonnull path, int32_t *_Nonnull listener, int32_t *_Nonnull connection);

/// Connects to the Unix socket at `path`. Returns a close-on-exec descriptor, or -1 with errno.
int32_t toro_connect(const char *_Nonnull path);

/// A close-on-exec pipe: `ends[0]` reads what `ends[1]` writes. Returns 0 or an errno.
int32_t toro_pipe(int32_t *_Nonnull ends);

/// A close-on-exec memory file with these bytes that nobody can change, and anybody can open by its
/// name in /proc/self/fd; or -1 with errno.
int32_t toro_memory_file(const void *_Nullable bytes, size_t count);

/// Makes a virtual machine with KVM, and throws it away. Returns 0 or an errno.
int32_t toro_try_kvm(void);

/// What is asked about a file.
struct toro_question {
    /// Further flags of open(2).
    int32_t flags;
    /// No more than this and a piece are read.
    size_t limit;
    /// Whether nothing but a regular file is read; else it is EINVAL.
    int32_t is_regular;
};

/// A file that was opened or read.
struct toro_file {
    /// Close-on-exec; -1 if it was not opened, or was read.
    int32_t descriptor;
    /// What it is (st_mode), and its owner.
    uint32_t mode, user, group;
    /// A process that waits for the file and that nobody can end; 0 if there is none.
    pid_t waiting;
};

/// What a file holds; to be freed.
struct toro_contents {
    uint8_t *_Nullable bytes;
    size_t count;
};

/// Reads a file if there are `contents` to fill in, else opens it to be named only (O_PATH). A
/// process of its own does that: a file system that does not answer may hold up whoever asks it, and
/// then no signal ends the waiting. Returns 0 or an errno: EINTR if a signal that is watched came
/// before an answer.
int32_t toro_ask(
    const char *_Nonnull path, struct toro_question question, struct toro_file *_Nonnull file,
    struct toro_contents *_Nullable contents);

/// Has a pipe hold as little as it can; returns how many bytes that is, or 0.
int32_t toro_narrow_pipe(int32_t pipe);
