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
        if let compiler = find("swiftc") {
            let folder = URL(fileURLWithPath: compiler).resolvingSymlinksInPath()
                .deletingLastPathComponent().path
            let candidate = folder + "/" + name
            if FileManager.default.isExecutableFile(atPath: candidate) { return candidate }
        }
        return find(name)
    }

    /// Runs a program and captures what it writes, standard error included; ended with SIGKILL
    /// after `limit` seconds, with all that it has started.
    public static func capture(
        _ program: String, _ arguments: [String], in folder: String? = nil, limit: Double = 900
    ) throws(LaunchError) -> Finished {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        do {
            try process.run()
        } catch {
            throw .missing("cannot start \(program): \(error.localizedDescription)")
        }
        let pid = process.processIdentifier
        let timer = DispatchSource.makeTimerSource()
        timer.schedule(deadline: .now() + limit)
        timer.setEventHandler { ProcessTree.end(pid) }
        timer.resume()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        timer.cancel()
        return Finished(status: process.status, output: String(decoding: data, as: UTF8.self))
    }

    /// Runs a program on this process's own terminal; returns its exit status.
    public static func passThrough(
        _ program: String, _ arguments: [String], in folder: String? = nil
    ) throws(LaunchError) -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
        do {
            try process.run()
        } catch {
            throw .missing("cannot start \(program): \(error.localizedDescription)")
        }
        process.waitUntilExit()
        return process.status
    }
}

extension Process {
    /// The exit status as a shell gives it: 128 + n after signal n.
    public var status: Int32 {
        terminationReason == .uncaughtSignal ? 128 + terminationStatus : terminationStatus
    }
}
