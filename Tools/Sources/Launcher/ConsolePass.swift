import Foundation

/// The console's way from QEMU to the terminal, with panic reports taken out, and with what would give
/// a terminal orders made visible.
///
/// Nothing here waits: what the reader does not take yet is kept, and no more is read meanwhile, so
/// that QEMU feels it and what is kept stays small.
final class ConsolePass {
    /// QEMU's output; -1 once it has ended.
    private var source: Int32
    private let destination: Destination
    private var filter = ConsoleFilter()
    private var terminal: TerminalFilter?
    /// What the destination has not taken yet.
    private var pending: [UInt8] = []

    /// Whether all that was said when `move` was last called has reached its reader.
    private(set) var isIdle = false

    /// A terminal that `isRaw` gets every byte.
    init(from source: Int32, to destination: Int32, isRaw: Bool = false) {
        self.source = source
        if !isRaw, isatty(destination) == 1 { terminal = TerminalFilter(allowsColor: true) }
        self.destination = Destination(destination)
    }

    /// Whether something waits for the reader.
    var isKeeping: Bool { !pending.isEmpty }

    /// What to wait for: room for what is kept, or else the guest's next words.
    var awaited: pollfd {
        pending.isEmpty
            ? pollfd(fd: source, events: Int16(POLLIN), revents: 0)
            : pollfd(fd: destination.file, events: Int16(POLLOUT), revents: 0)
    }

    /// Why it cannot be written any more: an `errno`, which is EPIPE if nobody reads it.
    private(set) var failure: Int32?

    /// Reads once, unless something is kept, and writes once; false if it cannot be written any more.
    func move() -> Bool {
        isIdle = false
        if pending.isEmpty, source >= 0 {
            switch readSome(source) {
            case nil: isIdle = true
            case let bytes? where bytes.isEmpty:
                source = -1
                pending = finish()
            case let bytes?: pending = take(bytes)
            }
        } else if pending.isEmpty {
            isIdle = true
        }
        return write()
    }

    /// Moves what is still there as far as it goes without waiting: the run is over.
    func drain() {
        // As much as a pipe holds: QEMU may still be writing.
        for _ in 0..<8 where !isIdle { if !move() { return } }
        if pending.isEmpty { pending = finish() }
        _ = write()
    }

    private func take(_ bytes: [UInt8]) -> [UInt8] {
        let text = filter.take(bytes)
        return terminal?.take(text) ?? text
    }

    private func finish() -> [UInt8] {
        let text = filter.finish()
        return (terminal?.take(text) ?? text) + (terminal?.finish() ?? [])
    }

    /// What the guest said about its panic.
    func report() -> PanicReport? { PanicReport(lines: filter.panicLines) }

    /// Writes what the destination takes now; false if it takes nothing any more.
    private func write() -> Bool {
        guard !pending.isEmpty else { return true }
        switch destination.take(pending) {
        case .success(let count):
            pending.removeFirst(count)
            return true
        case .failure(let error):
            failure = error.code
            return false
        }
    }
}

/// Somewhere to write without waiting.
private final class Destination {
    /// What to write to, and to wait for.
    let file: Int32
    private let isOwn: Bool

    /// A terminal or a pipe is opened anew: to make the descriptor itself non-blocking would make
    /// it so for the shell, too. What cannot be opened anew gets little at a time, when it is ready.
    init(_ original: Int32) {
        var status = stat()
        // SAFETY: the structure outlives the call.
        let isKnown = unsafe fstat(original, &status) == 0
        var opened: Int32 = -1
        // A file opened anew would be written from its beginning.
        if isKnown, [S_IFCHR, S_IFIFO].contains(status.st_mode & S_IFMT) {
            // SAFETY: the path is a C string for the call.
            opened = unsafe open(
                "/proc/self/fd/\(original)", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        }
        isOwn = opened >= 0
        file = isOwn ? opened : original
    }

    deinit { if isOwn { close(file) } }

    /// Takes what it can now.
    func take(_ bytes: [UInt8]) -> Result<Int, HostFile.Failure> {
        if !isOwn {
            var ready = pollfd(fd: file, events: Int16(POLLOUT), revents: 0)
            // SAFETY: one structure, which outlives the call.
            guard unsafe poll(&ready, 1, 0) == 1 else { return .success(0) }
        }
        // A pipe that is ready has room for this much.
        let length = isOwn ? bytes.count : min(bytes.count, Int(PIPE_BUF))
        // SAFETY: the length is the array's at most.
        let count = unsafe bytes.withUnsafeBytes { unsafe write(file, $0.baseAddress, length) }
        guard count < 0 else { return .success(count) }
        let code = errno
        return code == EAGAIN || code == EINTR
            ? .success(0) : .failure(HostFile.Failure(code: code))
    }
}
