import CLauncher
import Foundation

/// SIGINT, SIGTERM and SIGHUP to this process, for a process that wants to end in order.
///
/// One that came stays: whatever waits in this module, then or later, ends what it has started and
/// throws an error with the status 128 + n.
public enum Interrupts {
    /// Catches these signals from now on; SIGHUP not if it is ignored, as under nohup.
    public static func watch() throws(LaunchError) {
        let error = toro_watch_signals()
        guard error == 0 else { throw LaunchError("cannot catch signals: \(reason(error))") }
    }

    /// Polls readable once a signal came; -1 if nobody watches.
    static var reader: Int32 { toro_signal_reader() }

    /// Whether a signal came.
    public static var haveCome: Bool { toro_first_signal() != 0 }

    /// Throws if a signal came.
    public static func check() throws(LaunchError) {
        if haveCome { throw .interrupted() }
    }

    /// Runs `body` on a thread of its own and returns what it does. When a signal came and it has not
    /// ended a while later, this throws all the same: it may wait for ever in the kernel, for a file
    /// of a mount that does not answer, until this process ends. The end of a run with parts that
    /// cannot be ended takes up to 7 s (see `Launch.end`), and of a wait that no signal ends 1 s are
    /// enough.
    public static func run<Value>(_ body: @escaping () throws -> Value) throws -> Value {
        let (reader, writer) = try makePipe()
        let work = Work(body)
        Thread.detachNewThread {
            work.run()
            close(writer)
        }
        var wait: Part.EndWait?
        while !canRead(reader) {
            awaitReadable(
                [reader, wait == nil ? Interrupts.reader : -1],
                until: wait.map { _ in .now + Part.EndWait.pause })
            if wait == nil, haveCome {
                wait = Part.EndWait(limit: .seconds(10))
            }
            wait?.look(isWaiting: Part.isUninterruptible(getpid()))
            if wait?.isOver == true, !canRead(reader) {
                throw LaunchError.interrupted([
                    "a file or a folder of this host does not answer"
                ])
            }
        }
        close(reader)
        return try work.outcome()
    }

    private static func canRead(_ file: Int32) -> Bool {
        var wait = pollfd(fd: file, events: Int16(POLLIN), revents: 0)
        // SAFETY: one structure, which outlives the call.
        return unsafe poll(&wait, 1, 0) == 1
    }

    // SAFETY (@unchecked): one thread uses it until the pipe is closed, the other one only after.
    private final class Work<Value>: @unchecked Sendable {
        private let body: () throws -> Value
        private var result: Result<Value, any Error>?

        init(_ body: @escaping () throws -> Value) { self.body = body }

        func run() { result = Result { try body() } }

        func outcome() throws -> Value {
            guard let result else { throw LaunchError("a thread ended without a result") }
            return try result.get()
        }
    }

    /// Writes a message. Waits for its reader, but no more once a signal came: what it does not
    /// take then is dropped.
    public static func write(_ text: String, to file: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            var waits = [
                pollfd(fd: file, events: Int16(POLLOUT), revents: 0),
                pollfd(fd: reader, events: Int16(POLLIN), revents: 0),
            ]
            // SAFETY: the count is the array's.
            let count = unsafe poll(&waits, nfds_t(waits.count), -1)
            if count < 0, errno == EINTR { continue }
            // A pipe that is ready has room for this much.
            guard waits[0].revents != 0, writeAll(file, Array(rest.prefix(Int(PIPE_BUF)))) else {
                return
            }
            rest = rest.dropFirst(Int(PIPE_BUF))
        }
    }
}

/// Waits until one of the descriptors can be read, for as long as the deadline allows; a negative
/// one is none.
func awaitReadable(_ files: [Int32], until deadline: ContinuousClock.Instant? = nil) {
    awaitEvents(files.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }, until: deadline)
}

/// Waits for what the entries ask for, for as long as the deadline allows.
func awaitEvents(_ entries: [pollfd], until deadline: ContinuousClock.Instant? = nil) {
    var entries = entries
    var timeout: Int32 = -1
    if let deadline {
        let left = (deadline - .now) / .milliseconds(1)
        timeout = Int32(max(0, min(left.rounded(.up), 1e9)))
    }
    // SAFETY: the count is the array's.
    _ = unsafe poll(&entries, nfds_t(entries.count), timeout)
}

extension LaunchError {
    /// A signal came; what could not be done in order then is named.
    static func interrupted(_ details: [String] = []) -> LaunchError {
        LaunchError("interrupted", status: 128 + toro_first_signal()).with(details)
    }
}
