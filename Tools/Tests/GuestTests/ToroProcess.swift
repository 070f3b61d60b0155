import Foundation
import Launcher
import LoadClient
import Testing
import ToroTesting

/// `toro` as a user runs it: a process of its own, with everything it starts.
final class ToroProcess: @unchecked Sendable {
    // SAFETY (@unchecked): `text` is only touched under the condition's lock.
    private let process = Process()
    private let condition = NSCondition()
    private var text = ""
    private var ended = false
    private var unread: Pipe?
    /// Where this run's sockets and other files are while they exist.
    private let runFolder: TestFolder

    /// Starts `toro` with these arguments; `path` replaces PATH. What it prints is left in the pipe
    /// unless it `isRead`. The `prefix` is a program that becomes `toro`, with its arguments.
    init(
        _ arguments: [String], prefix: [String] = [], path: String? = nil, isRead: Bool = true
    ) throws {
        runFolder = try TestFolder()
        let words = prefix + [try #require(Images.tool("toro"), "toro is not built")] + arguments
        process.executableURL = URL(fileURLWithPath: words[0])
        process.arguments = Array(words.dropFirst())
        var environment = ProcessInfo.processInfo.environment
        for name in ["XDG_RUNTIME_DIR", "TMPDIR"] { environment[name] = runFolder.path }
        environment["TORO_ROOT"] = Images.root
        if let path { environment["PATH"] = path }
        process.environment = environment
        process.standardInput = FileHandle.nullDevice
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        unread = pipe
        if isRead { read() }
    }

    /// Begins to read what it prints.
    func read() {
        guard let pipe = unread else { return }
        unread = nil
        Thread.detachNewThread { [self] in
            while true {
                let data = pipe.fileHandleForReading.availableData
                condition.withLock {
                    text += String(decoding: data, as: UTF8.self)
                    ended = data.isEmpty
                    condition.broadcast()
                }
                if data.isEmpty { return }
            }
        }
    }

    /// The files that it has at the moment.
    var files: [String] {
        get throws { try FileManager.default.contentsOfDirectory(atPath: runFolder.path) }
    }

    /// What was printed so far, standard output and standard error together.
    var output: String { condition.withLock { text } }

    /// Waits until `words` were printed, behind `mark` if there is one; false if they have not been
    /// in time.
    func waits(for words: String, after mark: String = "") -> Bool {
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        func isThere() -> Bool {
            guard !mark.isEmpty else { return text.contains(words) }
            return text.range(of: mark).map { text[$0.upperBound...].contains(words) } ?? false
        }
        return condition.withLock {
            while !isThere() {
                if ended || !condition.wait(until: limit) { return isThere() }
            }
            return true
        }
    }

    /// Waits for the end; the exit status, nil if it does not come in time.
    func status() -> Int32? {
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        while unread != nil, process.isRunning, Date() < limit { usleep(10_000) }
        let isOver = condition.withLock {
            if unread != nil { return !process.isRunning }
            while !ended { if !condition.wait(until: limit) { return false } }
            return true
        }
        guard isOver else {
            let parts = ProcessTree().below(process.processIdentifier)
            for (name, pid) in [("toro", process.processIdentifier)] + parts {
                Issue.record("not ended: \(name), \(ToroProcess.whereabouts(of: pid))")
            }
            kill(process.processIdentifier, SIGKILL)
            return nil
        }
        process.waitUntilExit()
        return process.status
    }

    /// What each thread of a process is at: its state, and where in the kernel it waits (proc(5)).
    private static func whereabouts(of pid: Int32) -> String {
        let tasks = "/proc/\(pid)/task"
        let threads = (try? FileManager.default.contentsOfDirectory(atPath: tasks)) ?? []
        return threads.map { thread in
            let place = try? String(contentsOfFile: "\(tasks)/\(thread)/wchan", encoding: .utf8)
            let call = try? String(contentsOfFile: "\(tasks)/\(thread)/syscall", encoding: .utf8)
            return "\(thread): \(place ?? "?") \(call?.split(separator: " ").first ?? "?")"
        }
        .joined(separator: "; ")
    }

    /// Sends a signal to `toro` itself.
    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// The processes below `toro`: name and id.
    var parts: [(name: String, pid: Int32)] {
        ProcessTree().below(process.processIdentifier)
    }

    /// Whether `pid` runs.
    static func isAlive(_ pid: Int32) -> Bool {
        guard let line = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            let close = line.lastIndex(of: ")")
        else { return false }
        return !line[line.index(after: close)...].hasPrefix(" Z")
    }
}

extension Process {
    /// The exit status as a shell gives it: 128 + n after signal n.
    var status: Int32 {
        terminationReason == .uncaughtSignal ? 128 + terminationStatus : terminationStatus
    }
}

extension ClientSocket {
    /// What is behind the head of the answer to a GET of `target`, on a connection of its own.
    static func body(
        of target: String, port: Substring, address: UInt8 = 1
    ) throws -> String {
        let socket = try ClientSocket(port: try #require(UInt16(port)), address: address)
        #expect(socket.send("GET \(target) HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"))
        let answer = String(decoding: socket.receiveAll().bytes, as: UTF8.self)
        let end = try #require(answer.range(of: "\r\n\r\n"), "no head: \(answer)")
        return String(answer[end.upperBound...])
    }
}
