// SPDX-License-Identifier: Apache-2.0
//
// What starting a part of a run needs between fork and exec, which posix_spawn has no words for:
// the death of the parent, mount namespaces, read-only views of folders.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

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
    /// Whether it gets a mount namespace (and, without root, a user namespace) of its own.
    int32_t is_private;
    /// A folder that is read-only for it; needs is_private.
    const char *_Nullable read_only;
    /// Whether all that it starts ends with it. A guard stands between it and the caller, in the
    /// caller's process group: SIGTERM to the guard, or the caller's death, ends the whole tree.
    int32_t is_tree;
};

/// What stopped a part from starting.
enum toro_stage {
    TORO_STAGE_FORK = 1,
    TORO_STAGE_DESCRIPTORS,
    TORO_STAGE_NAMESPACE,
    TORO_STAGE_READ_ONLY,
    TORO_STAGE_EXEC,
};

/// Why a part did not start.
struct toro_failure {
    /// A toro_stage.
    int32_t stage;
    /// An errno.
    int32_t error;
};

/// Starts a part with default signals that the kernel ends when the calling thread ends: a tree in
/// the caller's process group, anything else in a group of its own. Returns its process id, or its
/// guard's, which ends as the part did; or -1, with `failure` filled in.
pid_t toro_start(const struct toro_part *_Nonnull part, struct toro_failure *_Nonnull failure);

/// A descriptor that polls readable when the child has ended (pidfd_open), or -1.
int32_t toro_pidfd(pid_t child);

/// Catches SIGINT, SIGTERM and SIGHUP from now on, unless SIGHUP is ignored, and ignores SIGPIPE.
/// Returns 0 or an errno.
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
