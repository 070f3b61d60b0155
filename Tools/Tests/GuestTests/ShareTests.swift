import Foundation
import Launcher
import Testing
import ToroCore
import ToroTesting

/// A guest that reads a real folder through virtiofsd.
@Suite(.serialized) struct ShareTests {
    private func boot(_ experiment: String, share folder: String) throws -> String {
        var machine = Machine(image: try Images.probe().path)
        machine.arguments = [experiment]
        let console = Pipe()
        let launch = try Launch(
            machine, shares: [Share(parsing: "site=\(folder)")], ports: [], device: nil)
        let reader = Task.detached { console.fileHandleForReading.readDataToEndOfFile() }
        defer { _ = reader }
        let status = try launch.run(console: console.fileHandleForWriting, limit: Patience.seconds)
        try console.fileHandleForWriting.close()
        let text = String(decoding: awaitValue(reader), as: UTF8.self)
        #expect(status == 0, "\(text)")
        return text
    }

    private func awaitValue(_ task: Task<Data, Never>) -> Data {
        let done = DispatchSemaphore(value: 0)
        let box = Box()
        Task.detached {
            box.data = await task.value
            done.signal()
        }
        done.wait()
        return box.data
    }

    private final class Box: @unchecked Sendable {
        // Written before the semaphore is signalled and read after.
        var data = Data()
    }

    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = NSTemporaryDirectory() + "toro-share-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: folder + "/sub/deep", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    @Test func everyFileArrivesAsItIs() throws {
        try withFolder { folder in
            var expected: Set<String> = []
            var state: UInt64 = 42
            let names = ["a", "with space", "100%", "sub/ü", "sub/deep/\u{1}", "sub/empty"]
            for (index, name) in names.enumerated() {
                let size = [0: 1, 1: 4096, 2: 4097, 3: 3_000_000, 4: 100_000][index] ?? 0
                var bytes = [UInt8](repeating: 0, count: size)
                var hash: UInt64 = 0xcbf2_9ce4_8422_2325
                for at in bytes.indices {
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    bytes[at] = UInt8(truncatingIfNeeded: state >> 33)
                    hash = (hash ^ UInt64(bytes[at])) &* 0x100_0000_01b3
                }
                try Data(bytes).write(to: URL(fileURLWithPath: folder + "/" + name))
                let hex = ("/" + name).utf8.map { byte in
                    String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
                }
                expected.insert("file \(hex.joined()) \(size) \(String(hash, radix: 16))")
            }
            let lines = try boot("files", share: folder).split(whereSeparator: \.isNewline)
            #expect(Set(lines.map(String.init).filter { $0.hasPrefix("file ") }) == expected)
        }
    }

    @Test func aShareConformsToTheFileSystemProtocol() throws {
        let folder = try TestFolder()
        try folder.make(.standard())
        let console = try boot("conformance", share: folder.path)
        let line = console.split(whereSeparator: \.isNewline).first {
            $0.hasPrefix("conformance: ")
        }
        let checks = try #require(line?.split(separator: " ").dropFirst().first)
        #expect(try #require(Int(checks)) > 400, "\(console)")
    }

    /// Without `:rw` the daemon itself cannot write: a guest that broke it could not either.
    @Test(arguments: [false, true]) func onlyAWritableShareCanBeWritten(_ isWritable: Bool) throws {
        let folder = try TestFolder()
        try folder.write([], to: "mark")
        let share = "site=\(folder.path)" + (isWritable ? ":rw" : "")
        let run = try ToroProcess(
            ["run", try Images.webProbe().path, "--share", share, "--publish", "0:80"])
        #expect(run.waits(for: "ready: "), "\(run.output)")
        // The daemon's root is the share.
        let roots = run.parts.map { "/proc/\($0.pid)/root/" }
            .filter { FileManager.default.fileExists(atPath: $0 + "mark") }
        #expect(!roots.isEmpty, "\(run.parts)")
        for root in roots {
            // SAFETY: the path is a C string for the call.
            let file = unsafe open(root + "new", O_CREAT | O_WRONLY | O_EXCL, 0o644)
            let code = errno
            if file >= 0 { close(file) }
            #expect((file >= 0) == isWritable, "errno \(code)")
            if !isWritable { #expect(code == EROFS) }
        }
        #expect(FileManager.default.fileExists(atPath: folder.path + "/new") == isWritable)
        run.signal(SIGINT)
        #expect(run.status() == 130, "\(run.output)")
    }

    @Test func whatLeadsOutIsRefused() throws {
        try withFolder { folder in
            let files = FileManager.default
            try files.createSymbolicLink(
                atPath: folder + "/outside", withDestinationPath: "/etc/passwd")
            try files.createSymbolicLink(atPath: folder + "/loop", withDestinationPath: "loop")
            try Data("x".utf8).write(to: URL(fileURLWithPath: folder + "/file"))
            let lines = try boot("refusals", share: folder)
                .split(whereSeparator: \.isNewline).map(String.init)
            #expect(
                lines == [
                    "probe: refusals", "refused: the path leads out of the share",
                    "refused: the path leads out of the share",
                    "refused: no such file or directory", "refused: not a directory",
                    "refused: too many symbolic links", "refused: is a directory",
                ])
        }
    }
}
