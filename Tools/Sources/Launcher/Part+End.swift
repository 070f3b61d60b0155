import Foundation

extension Part {
    /// Waits for the end of a process that was killed.
    func awaitEnd() {
        while reap() == nil { awaitReadable([ended], until: .now + .milliseconds(100)) }
    }

    /// Waits for the ends of processes that were killed, but not for ever. Returns words about those
    /// that wait in the kernel for what does not answer, so that SIGKILL changes nothing.
    static func awaitEnds(of parts: [Part]) -> [String] {
        var left = parts.filter { $0.reap() == nil }
        var waits = left.map { _ in EndWait() }
        while !left.isEmpty {
            for (index, part) in left.enumerated() {
                waits[index].look(isWaiting: part.waiting != nil)
            }
            // All at the same time: many take no longer than one.
            if zip(left, waits).allSatisfy({ $1.isOver }) { break }
            awaitReadable(left.map(\.ended), until: .now + EndWait.pause)
            let isLeft = left.map { $0.reap() == nil }
            waits = zip(waits, isLeft).filter(\.1).map(\.0)
            left = zip(left, isLeft).filter(\.1).map(\.0)
        }
        return left.map { part in
            let waiting = part.waiting ?? (part.name, part.pid)
            return stuck(waiting.name, waiting.pid)
        }
    }

    /// The process, or one that it has started, which is in a wait that no signal ends.
    private var waiting: (name: String, pid: pid_t)? {
        ([(name, pid)] + ProcessTree().below(pid)).first { Part.isUninterruptible($0.pid) }
    }

    /// Whether a thread of a process is in a wait that no signal ends: state D (proc(5)).
    static func isUninterruptible(_ pid: pid_t) -> Bool {
        let tasks = "/proc/\(pid)/task"
        let threads = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
        return threads.contains { thread in
            let line = try? String(contentsOfFile: "\(tasks)/\(thread)/stat", encoding: .utf8)
            // The name before it may hold anything.
            guard let line, let end = line.lastIndex(of: ")") else { return false }
            return line[end...].hasPrefix(") D")
        }
    }

    /// What is said of a process that cannot be ended.
    static func stuck(_ name: String, _ pid: pid_t) -> String {
        "\(name), process \(pid), cannot be ended: it waits for a file system that does not answer, "
            + "and ends when that does"
    }

    /// How long somebody is waited for who is to end.
    struct EndWait {
        /// The time between two looks at most.
        static let pause = Duration.milliseconds(50)

        private let limit: ContinuousClock.Instant
        private var lastSeenElsewhere = ContinuousClock.now

        init(limit: Duration = .seconds(5)) { self.limit = .now + limit }

        /// Takes what was seen now.
        mutating func look(isWaiting: Bool) { if !isWaiting { lastSeenElsewhere = .now } }

        /// Whether it is over: every disk answers within a second.
        var isOver: Bool { .now > limit || .now - lastSeenElsewhere > .seconds(1) }
    }
}
