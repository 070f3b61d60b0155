import Foundation
import Launcher
import LoadClient
import Testing
import ToroCore
import ToroHost
import ToroTesting

/// What goes wrong around a guest: each has its message and status, and nothing is left.
@Suite(.serialized) struct FaultTests {
    private func serve(
        _ folder: TestFolder, prefix: [String] = [], path: String? = nil
    ) throws -> ToroProcess {
        let image = try Images.webProbe().path
        return try ToroProcess(
            ["run", image, "--share", "site=\(folder.path)", "--publish", "0:80"], prefix: prefix,
            path: path)
    }

    /// Which of the parts of a run outlive it.
    private func alive(_ parts: [(name: String, pid: Int32)]) -> [(name: String, pid: Int32)] {
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        while Date() < limit, parts.contains(where: { ToroProcess.isAlive($0.pid) }) {
            usleep(10_000)
        }
        return parts.filter { ToroProcess.isAlive($0.pid) }
    }

    @Test func withoutQEMUItIsNamed() throws {
        let folder = try TestFolder()
        let run = try ToroProcess(["run", try Images.probe().path], path: folder.path)
        #expect(run.status() == 69)
        #expect(run.output.contains("qemu-system-x86_64"), "\(run.output)")
        #expect(run.output.contains("apt-get install"), "\(run.output)")
    }

    @Test func aWrongTagIsNamed() throws {
        let folder = try TestFolder()
        let image = try Images.webProbe().path
        let run = try ToroProcess(["run", image, "--share", "other=\(folder.path)"])
        #expect(run.status() == 2)
        #expect(run.output.contains("site"), "\(run.output)")
    }

    @Test func aMissingFolderIsNamed() throws {
        let image = try Images.webProbe().path
        let run = try ToroProcess(["run", image, "--share", "site=/no/such/folder"])
        #expect(run.status() == 64)
        #expect(run.output.contains("/no/such/folder"), "\(run.output)")
    }

    @Test @Core func aPortInUseIsNamed() async throws {
        let listener = try HostListener(port: 0)
        defer { listener.close() }
        let folder = try TestFolder()
        let image = try Images.webProbe().path
        let run = try ToroProcess(
            [
                "run", image, "--share", "site=\(folder.path)", "--publish",
                "\(listener.port):80",
            ])
        #expect(run.status() == 125)
        #expect(run.output.contains("\(listener.port)"), "\(run.output)")
        #expect(run.output.contains("in use"), "\(run.output)")
    }

    @Test(arguments: ["virtiofsd", "toro-vsock-devi", "qemu-system-x86", "toro"])
    func whenAPartIsKilledNothingIsLeft(_ victim: String) throws {
        let folder = try TestFolder()
        let run = try serve(folder)
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let parts = run.parts
        #expect(parts.count >= 3, "\(parts)")
        if victim == "toro" {
            run.signal(SIGKILL)
        } else {
            for part in parts where part.name == victim { kill(part.pid, SIGKILL) }
            #expect(parts.contains { $0.name == victim }, "\(parts)")
        }
        let left = alive(parts)
        #expect(left.isEmpty, "\(left)")
        #expect(run.status() == (victim == "toro" ? 128 + SIGKILL : 125), "\(run.output)")
        if victim != "toro" {
            #expect(run.output.contains("ended by signal 9"), "\(run.output)")
        }
        #expect(try run.files.isEmpty)
    }

    /// A soft limit is no part's limit: a hundred clients need more descriptors than some shells give.
    @Test func everyPartMayOpenWhatTheHardLimitAllows() throws {
        let folder = try TestFolder()
        let run = try serve(
            folder, prefix: ["/bin/sh", "-c", "ulimit -Sn 100; exec \"$@\"", "sh"])
        #expect(run.waits(for: "ready: "), "\(run.output)")
        for name in ["virtiofsd", "toro-vsock-devi", "qemu-system-x86"] {
            let part = try #require(run.parts.first { $0.name == name }, "\(run.parts)")
            let limits = try String(contentsOfFile: "/proc/\(part.pid)/limits", encoding: .utf8)
            let line = limits.split(separator: "\n").first { $0.hasPrefix("Max open files") }
            // Max open files, the soft limit, the hard one, files.
            let words = try #require(line).split(separator: " ")
            #expect(words[3] == words[4] && words[3] != "100", "\(name): \(words)")
        }
        run.signal(SIGTERM)
        #expect(run.status() == 128 + SIGTERM)
    }

    @Test(arguments: [SIGINT, SIGTERM])
    func aSignalEndsTheRunInOrder(_ signal: Int32) throws {
        let folder = try TestFolder()
        let run = try serve(folder)
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let parts = run.parts
        run.signal(signal)
        #expect(run.status() == 128 + signal, "\(run.output)")
        #expect(!parts.contains { ToroProcess.isAlive($0.pid) })
        #expect(try run.files.isEmpty)
    }

    /// Milliseconds after the start; the guest is ready after some hundred.
    @Test(arguments: [0, 5, 10, 15, 20, 30, 40, 60, 80, 120, 160])
    func anInterruptAtAnyTimeLeavesNothing(_ delay: UInt32) throws {
        let folder = try TestFolder()
        let run = try serve(folder)
        usleep(delay * 1000)
        try interrupt(run)
    }

    /// The machine never connects, so that the sockets keep their paths.
    @Test func anInterruptWhileASocketHasAPathLeavesNothing() throws {
        let (program, path) = try TestFolder.inPath("qemu-system-x86_64", "exec sleep 600")
        defer { _ = program }
        let folder = try TestFolder()
        let run = try serve(folder, path: path)
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        while try run.files.isEmpty, Date() < limit { usleep(1_000) }
        #expect(try !run.files.isEmpty, "no socket was ever seen, so that none left says nothing")
        try interrupt(run)
    }

    private func interrupt(_ run: ToroProcess) throws {
        let parts = run.parts
        run.signal(SIGINT)
        #expect(run.status() == 128 + SIGINT, "\(run.output)")
        #expect(!parts.contains { ToroProcess.isAlive($0.pid) })
        #expect(try run.files.isEmpty)
    }

    // What SwiftPM starts is in groups of its own.
    @Test(arguments: [SIGINT, SIGTERM, SIGHUP, SIGKILL])
    func whatABuildStartedEndsWithToro(_ signal: Int32) throws {
        let (folder, path) = try TestFolder.inPath(
            "swift", "setsid sh -c 'sleep 600 & sleep 600' & sleep 600")
        defer { _ = folder }
        let run = try ToroProcess(["build", Images.root + "/Samples/HelloWorld"], path: path)
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        while run.parts.count(where: { $0.name == "sleep" }) < 3, Date() < limit { usleep(10_000) }
        let parts = run.parts
        #expect(parts.count(where: { $0.name == "sleep" }) == 3, "\(parts) \(run.output)")
        run.signal(signal)
        // Printed to the end only when the last of them has closed the pipe.
        #expect(run.status() == 128 + signal, "\(run.output)")
        let left = alive(parts)
        #expect(left.isEmpty, "\(left)")
        #expect(try run.files == [])
    }

    // The first prints faster than it is read, the second has more to say than a pipe holds.
    @Test(arguments: ["exec yes", "head -c 200000 /dev/zero; exec sleep 600"], [false, true])
    func aConsoleThatIsNotReadHoldsNoSignalUp(_ script: String, _ isRead: Bool) throws {
        let (folder, path) = try TestFolder.inPath("qemu-system-x86_64", script)
        defer { _ = folder }
        let run = try ToroProcess(
            ["run", try Images.probe().path], path: path, isRead: isRead)
        usleep(500_000)
        run.signal(SIGTERM)
        #expect(run.status() == 128 + SIGTERM, "\(run.output.prefix(1000))")
    }

    @Test func anExhaustedGuestSaysSo() throws {
        let run = try ToroProcess(
            ["run", try Images.probe().path, "--memory", "8M", "--", "memory"])
        #expect(run.status() == 102)
        #expect(run.output.contains("out of memory"), "\(run.output)")
        #expect(run.output.contains("Failures.swift:"), "\(run.output)")
    }

    @Test func aDeepTrapNamesEveryCall() throws {
        let run = try ToroProcess(["run", try Images.probe().path, "--", "trap"])
        #expect(run.status() == 101)
        for function in ["inner", "middle", "outer"] {
            let line = run.output.split(separator: "\n").first {
                $0.contains("Failures.\(function)")
            }
            #expect(line?.contains("Failures.swift:") == true, "\(function): \(run.output)")
        }
    }

    /// A guest that dies while it serves: its clients hear it at once, and toro says where it was.
    @Test func aPanicWhileServingIsHeard() throws {
        let folder = try TestFolder()
        try folder.write([UInt8](repeating: 7, count: 20_000_000), to: "large")
        let run = try serve(folder)
        #expect(run.waits(for: "ready: "), "\(run.output)")
        let start = try #require(run.output.range(of: "ready: 127.0.0.1:")?.upperBound)
        let port = try #require(UInt16(run.output[start...].prefix { $0.isNumber }))
        // One has said nothing, one is in the middle of its answer, one asks for the end.
        let clients = try (0..<3).map { _ in try ClientSocket(port: port) }
        #expect(clients[1].send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n"))
        var buffer = [UInt8](repeating: 0, count: 1_000)
        #expect(clients[1].receive(into: &buffer) == .bytes(1_000))
        #expect(clients[2].send("GET /.crash HTTP/1.1\r\nHost: h\r\n\r\n"))
        for (index, client) in clients.enumerated() {
            let answer = client.receiveAll()
            #expect(answer.last == .reset, "client \(index): \(answer.last)")
            #expect(answer.bytes.count < 20_000_000)
        }
        #expect(run.status() == 101, "\(run.output)")
        // From the trap through everything that awaited it.
        for function in ["third", "second", "first"] {
            let line = run.output.split(separator: "\n").first {
                $0.contains("WebProbe.\(function)")
            }
            #expect(line?.contains("WebProbe.swift:") == true, "\(function): \(run.output)")
        }
        #expect(try run.files.isEmpty)
    }
}
