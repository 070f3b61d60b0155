import CLauncher
import Foundation

extension Launch {
    /// Waits for QEMU's end, passing the console through meanwhile.
    func watch(
        _ qemu: Part, _ pass: ConsolePass, _ signals: SignalPipe, limit: Double?
    ) throws(LaunchError) -> ProcessEnd {
        let start = ContinuousClock.now
        let comeUp = start + .seconds(Launch.patience)
        let last = limit.map { start + .seconds($0) }
        var grace: ContinuousClock.Instant?
        while true {
            let deadlines = [last, grace, unanswered.isEmpty ? nil : comeUp].compactMap { $0 }
            wait(pass, signals, until: deadlines.min())
            for part in parts { copyErrors(of: part) }
            announcements?.read().forEach(onReady)
            let isRead = pass.copy()
            if let end = qemu.reap() { return end }
            if let number = signals.take() {
                throw LaunchError("interrupted", status: 128 + number)
            }
            guard isRead else { throw LaunchError("nobody reads the console", status: 141) }
            let now = ContinuousClock.now
            dropAnswered()
            if now >= comeUp, let late = unanswered.first { throw Launch.late(late.part) }
            if let last, now >= last {
                throw LaunchError("the guest did not end within \(limit ?? 0) seconds", status: 124)
            }
            // Back ends end when QEMU does: it may be about to be the one that is named.
            if let dead = parts.first(where: { $0.reap() != nil }) {
                if let grace, now >= grace { throw died(dead, dead.reap()) }
                grace = grace ?? now + .milliseconds(200)
            }
        }
    }

    private func wait(
        _ pass: ConsolePass, _ signals: SignalPipe, until deadline: ContinuousClock.Instant?
    ) {
        var files = [pass.source, signals.reader, announcements?.reader ?? -1]
        files += parts.map(\.errors)
        // An ended part stays readable: once it is known, the deadline does the waking. To ask
        // here whether one has ended would be too late: nobody acts on the answer before the wait.
        files += parts.filter { $0.end == nil }.map(\.ended)
        var waits = files.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        var timeout: Int32 = -1
        if let deadline {
            let left = (deadline - .now) / .milliseconds(1)
            timeout = Int32(max(0, min(left.rounded(.up), 1e9)))
        }
        // SAFETY: the count is the array's.
        _ = unsafe poll(&waits, nfds_t(waits.count), timeout)
    }

    private func copyErrors(of part: Part) {
        part.readErrors()
        guard let log, !part.lastWords.isEmpty else { return }
        _ = writeAll(log.fileDescriptor, part.lastWords)
        part.lastWords.removeAll()
    }

    /// A listener that is not readable has no connection waiting: its back end took it.
    private func dropAnswered() {
        unanswered.removeAll { waiting in
            var wait = pollfd(fd: waiting.listener, events: Int16(POLLIN), revents: 0)
            // SAFETY: one structure, which outlives the call.
            guard unsafe poll(&wait, 1, 0) == 0 else { return false }
            close(waiting.listener)
            return true
        }
    }
}

/// The console's way from QEMU to the terminal, with panic reports taken out.
final class ConsolePass {
    /// QEMU's output; -1 once it has ended.
    private(set) var source: Int32
    private let destination: Int32
    private var filter = ConsoleFilter()

    init(from source: Int32, to destination: Int32) {
        self.source = source
        self.destination = destination
    }

    /// Copies what is there; false if nobody reads it any more.
    func copy() -> Bool {
        while source >= 0, let bytes = readSome(source) {
            if bytes.isEmpty { source = -1 }
            let text = bytes.isEmpty ? filter.finish() : filter.take(bytes)
            guard writeAll(destination, text) else { return false }
        }
        return true
    }

    /// Copies the rest, after QEMU's end.
    func drain() {
        _ = copy()
        _ = writeAll(destination, filter.finish())
    }

    /// What the guest said about its panic.
    func report() -> PanicReport? { PanicReport(lines: filter.panicLines) }
}

/// Signals as bytes in a pipe, so that a wait for descriptors hears of them.
final class SignalPipe: Sendable {
    let reader: Int32
    private let writer: Int32

    init() throws(LaunchError) {
        (reader, writer) = try makePipe()
        for file in [reader, writer] { _ = fcntl(file, F_SETFL, O_NONBLOCK) }
    }

    deinit {
        close(reader)
        close(writer)
    }

    /// Has this process's signals come here, until `release`.
    func catchSignals() { toro_watch_signals(writer) }

    /// Gives the signals their defaults back.
    func release() { toro_watch_signals(-1) }

    /// Pretends that a signal came. May be called on any thread.
    func send(_ number: Int32) { _ = writeAll(writer, [UInt8(truncatingIfNeeded: number)]) }

    /// The first signal that came.
    func take() -> Int32? { readSome(reader)?.first.map(Int32.init) }
}

/// What the vsock device says: `listening HOSTPORT GUESTPORT` once a port is bound, and
/// `ready GUESTPORT` once the guest listens on it.
final class PortAnnouncements {
    private(set) var reader: Int32
    private var ports: [PublishedPort]
    private var boundCount = 0
    private var rest: [UInt8] = []

    init(ports: [PublishedPort], reader: Int32) {
        self.ports = ports
        self.reader = reader
    }

    deinit { if reader >= 0 { close(reader) } }

    /// Whether the host side of every port is bound.
    var areAllBound: Bool { boundCount >= ports.count }

    /// Reads what is there; returns the ports that became ready.
    @discardableResult func read() -> [PublishedPort] {
        while reader >= 0, let bytes = readSome(reader) {
            rest += bytes
            if bytes.isEmpty {
                close(reader)
                reader = -1
            }
        }
        return takeLines()
    }

    private func takeLines() -> [PublishedPort] {
        var ready: [PublishedPort] = []
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let line = String(decoding: rest[..<end], as: UTF8.self)
            rest.removeSubrange(...end)
            ready += take(line)
        }
        if rest.count > 1024 { rest.removeAll() }
        return ready
    }

    func take(_ line: String) -> [PublishedPort] {
        let words = line.split(separator: " ")
        let numbers = words.dropFirst().compactMap { UInt32($0) }
        if words.first == "listening", numbers.count == 2, let port = UInt16(exactly: numbers[0]) {
            boundCount += 1
            // The host's port 0 stands for any: here is which.
            if let index = ports.firstIndex(where: { $0.guestPort == numbers[1] && $0.port == 0 }) {
                ports[index].port = port
            }
        } else if words.first == "ready", numbers.count == 1 {
            return ports.filter { $0.guestPort == numbers[0] }
        }
        return []
    }
}
