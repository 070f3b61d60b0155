import Foundation

extension Launch {
    /// Waits for QEMU's end, passing the console through meanwhile, and then for the reader of the
    /// console's last words, for as long as that takes.
    ///
    /// Each turn moves no more of the console than can be moved without waiting: signals and dead
    /// parts are noticed whether the guest is silent, faster than the terminal, or not read at all.
    func watch(_ qemu: Part, _ pass: ConsolePass, limit: Double?) throws(LaunchError) -> ProcessEnd
    {
        defer { pass.drain() }
        let start = ContinuousClock.now
        let comeUp = start + .seconds(Launch.patience)
        let last = limit.map { start + .seconds($0) }
        var grace: ContinuousClock.Instant?
        while true {
            let deadlines =
                qemu.end == nil ? [last, grace, unanswered.isEmpty ? nil : comeUp] : []
            // After QEMU's end there is nothing more to wait for but a reader.
            if qemu.end == nil || pass.isKeeping {
                wait(pass, until: deadlines.compactMap { $0 }.min())
            }
            for part in parts {
                part.readErrors()
                // Before the console is read: what QEMU said last is there by then.
                _ = part.reap()
            }
            announce()
            let isRead = pass.move()
            if let end = qemu.end, pass.isIdle { return end }
            try Interrupts.check()
            if stopRequest.wasCalled() { throw LaunchError("stopped", status: 128 + SIGTERM) }
            guard isRead else { throw Launch.unread(pass.failure) }
            // The others end with QEMU, and nobody hurries the reader.
            if qemu.end != nil { continue }
            let now = ContinuousClock.now
            if let last, now >= last {
                throw LaunchError("the guest did not end within \(limit ?? 0) seconds", status: 124)
            }
            dropAnswered()
            if now >= comeUp, let late = unanswered.first { throw Launch.late(late.part) }
            // Back ends end when QEMU does: it may be about to be the one that is named.
            if let dead = parts.first(where: { $0.end != nil }) {
                if let grace, now >= grace { throw died(dead, dead.end) }
                grace = grace ?? now + .milliseconds(200)
            }
        }
    }

    private static func unread(_ code: Int32?) -> LaunchError {
        guard let code, code != EPIPE else {
            return LaunchError("nobody reads the console", status: 128 + SIGPIPE)
        }
        return LaunchError("cannot write what the guest says: \(reason(code))")
    }

    private func wait(_ pass: ConsolePass, until deadline: ContinuousClock.Instant?) {
        var files = [Interrupts.reader, stopRequest.reader, announcements?.reader ?? -1]
        files += parts.map(\.errors)
        // An ended part stays readable: once it is known, the deadline does the waking. To ask
        // here whether one has ended would be too late: nobody acts on the answer before the wait.
        files += parts.filter { $0.end == nil }.map(\.ended)
        let waits = files.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        awaitEvents(waits + [pass.awaited], until: deadline)
    }

    private func announce() {
        for event in announcements?.read() ?? [] {
            switch event {
            case .ready(let port): onReady(port)
            case .silent(let port): onSilent(port)
            case .left: onLeft()
            }
        }
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

/// What the vsock device says: `ready HOST:PORT GUESTPORT` once the guest listens on a port,
/// `silent HOST:PORT GUESTPORT` when it has not for a while, and `left` when its turn is over and so is
/// its last connection.
final class PortAnnouncements {
    /// What became of a port.
    enum Event: Equatable {
        case ready(PublishedPort)
        case silent(PublishedPort)
        case left
    }

    private(set) var reader: Int32
    private let ports: [PublishedPort]
    private var rest: [UInt8] = []

    init(ports: [PublishedPort], reader: Int32) {
        self.ports = ports
        self.reader = reader
    }

    deinit { if reader >= 0 { close(reader) } }

    /// Reads what is there; returns what happened.
    func read() -> [Event] {
        while reader >= 0, let bytes = readSome(reader) {
            rest += bytes
            if bytes.isEmpty {
                close(reader)
                reader = -1
            }
        }
        return takeLines()
    }

    private func takeLines() -> [Event] {
        var events: [Event] = []
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
            let line = String(decoding: rest[..<end], as: UTF8.self)
            rest.removeSubrange(...end)
            events += take(line)
        }
        if rest.count > 1024 { rest.removeAll() }
        return events
    }

    func take(_ line: String) -> [Event] {
        let words = line.split(separator: " ")
        if words == ["left"] { return [.left] }
        guard words.count == 3, let mark = words[1].lastIndex(of: ":"),
            let port = UInt16(words[1][words[1].index(after: mark)...])
        else { return [] }
        // The device writes an IPv6 host in brackets, which the user may have left out.
        let host = words[1][..<mark].filter { !"[]".contains($0) }
        let named = ports.filter {
            String($0.guestPort) == words[2] && $0.port == port
                && $0.host.filter { !"[]".contains($0) } == host
        }
        switch words[0] {
        case "ready": return named.map { .ready($0) }
        case "silent": return named.map { .silent($0) }
        default: return []
        }
    }
}
