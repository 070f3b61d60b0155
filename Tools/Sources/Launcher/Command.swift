import Foundation

/// A program that ran to its end.
public struct Finished: Sendable {
    /// Its exit status; 128 + n after signal n.
    public let status: Int32
    /// What it wrote to standard output, and to standard error if that was merged.
    public let output: String
}

/// Programs of the host.
public enum Command {
    /// The path of a program, looked for in `PATH` and in `extra` folders; nil if there is none.
    public static func find(_ name: String, extra: [String] = []) -> String? {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        for folder in path.split(separator: ":").map(String.init) + extra {
            let candidate = folder + "/" + name
            if FileManager.default.isExecutableFile(atPath: candidate) { return candidate }
        }
        return nil
    }

    /// The path of a program of the Swift toolchain: beside `swiftc`, or else in `PATH`, where a
    /// distribution's may be of another version.
    public static func findTool(_ name: String) -> String? {
        if let compiler = find("swiftc").flatMap(realPath) {
            let candidate = (compiler as NSString).deletingLastPathComponent + "/" + name
            if FileManager.default.isExecutableFile(atPath: candidate) { return candidate }
        }
        return find(name)
    }

    /// The path of the program that leaves symbols out.
    static func objcopy() throws(LaunchError) -> String {
        guard let path = findTool("llvm-objcopy") ?? find("objcopy") else {
            throw .missing("llvm-objcopy is not in PATH; it comes with the Swift toolchain")
        }
        return path
    }

    /// Runs a program and captures what it writes, standard error included; ended with SIGKILL
    /// after `limit` seconds. All that it has started ends with it, and it ends with this thread.
    ///
    /// It inherits the descriptors `kept`. `onStart` is called when it has been started, and
    /// `onOutput` with each piece of what it writes, as it comes.
    public static func capture(
        _ program: String, _ arguments: [String], limit: Double = 900, kept: [Int32] = [],
        onOutput: ([UInt8]) -> Void = { _ in }, onStart: () -> Void = {}
    ) throws(LaunchError) -> Finished {
        let (reader, writer) = try makePipe()
        defer { close(reader) }
        _ = fcntl(reader, F_SETFL, O_NONBLOCK)
        let part: Part
        do {
            defer { close(writer) }
            part = try start(
                program, arguments, input: nil, output: writer, errors: writer, kept: kept)
        }
        onStart()
        var output: [UInt8] = []
        var isOpen = true
        let deadline = ContinuousClock.now + .seconds(limit)
        let end = try wait(for: part, reading: { isOpen ? reader : -1 }, until: deadline) {
            // As much as a pipe holds: a program may write faster than this reads.
            for _ in 0..<64 {
                guard isOpen, let bytes = readSome(reader) else { return }
                isOpen = !bytes.isEmpty
                output += bytes
                onOutput(bytes)
            }
        }
        return Finished(status: end.status, output: String(decoding: output, as: UTF8.self))
    }

    /// Runs a program on this process's own terminal; returns its exit status. All that it has
    /// started ends with it, and it ends with this thread.
    public static func passThrough(
        _ program: String, _ arguments: [String]
    ) throws(LaunchError) -> Int32 {
        let part = try start(
            program, arguments, input: STDIN_FILENO, output: STDOUT_FILENO, errors: STDERR_FILENO)
        return try wait(for: part).status
    }

    private static func start(
        _ program: String, _ arguments: [String], input: Int32?, output: Int32, errors: Int32,
        kept: [Int32] = []
    ) throws(LaunchError) -> Part {
        try Interrupts.check()
        return try Part(
            Part.Start(
                name: (program as NSString).lastPathComponent, program: program,
                arguments: arguments, input: input, output: output, errors: errors, kept: kept,
                isTree: true))
    }

    /// Waits until all that a program has started has ended, too. A signal to this process ends
    /// them, and so does the deadline.
    private static func wait(
        for part: Part, reading reader: () -> Int32 = { -1 },
        until deadline: ContinuousClock.Instant? = nil, read: () -> Void = {}
    ) throws(LaunchError) -> ProcessEnd {
        var deadline = deadline
        while true {
            awaitReadable([reader(), part.ended, Interrupts.reader], until: deadline)
            let end = part.reap()
            read()
            if let end { return end }
            do throws(LaunchError) {
                try Interrupts.check()
            } catch {
                part.signal(SIGTERM)
                throw error.with(Part.awaitEnds(of: [part]))
            }
            if let last = deadline, .now >= last {
                part.signal(SIGTERM)
                deadline = nil
            }
        }
    }
}
