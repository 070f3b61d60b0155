import Foundation

extension Part {
    /// Waits for the end of a process that was killed.
    func awaitEnd() {
        while reap() == nil { awaitReadable([ended], until: .now + .milliseconds(100)) }
    }

    /// Waits for the end of a process that was killed, but not for ever: false if it waits in the
    /// kernel for what does not answer, so that SIGKILL changes nothing.
    func awaitsEnd() -> Bool {
        let start = ContinuousClock.now
        var lastSeenElsewhere = start
        while reap() == nil {
            let now = ContinuousClock.now
            if !isUninterruptible { lastSeenElsewhere = now }
            if now - lastSeenElsewhere > .seconds(1) || now - start > .seconds(5) { return false }
            awaitReadable([ended], until: now + .milliseconds(50))
        }
        return true
    }

    /// Whether a thread of the process is in a wait that no signal ends: state D (proc(5)).
    private var isUninterruptible: Bool {
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
}
