import Foundation
import Launcher
import Testing
import ToroCore
import ToroHost
import ToroTesting

/// A guest that serves a folder, on a thread of its own until `end`.
final class RunningGuest: @unchecked Sendable {
    // SAFETY (@unchecked): the outcome is written before `ended` is signalled, and read after.
    let port: UInt16
    let processes: [(name: String, pid: Int32)]
    private let stop: @Sendable () -> Void
    private let ended: DispatchSemaphore
    private let box: Box

    /// What became of the run.
    final class Box: @unchecked Sendable {
        var launch: Launch?
        var port: UInt16 = 0
        var outcome = Result<Int32, any Error>.success(-1)
        var console = Data()
        var panic: PanicReport?
    }

    /// Boots the WebProbe image on `folder` and waits until it listens.
    init(
        sharing folder: String, memory: String = "32M", environment: [(String, String)] = [],
        bufferSize: UInt64? = nil
    ) throws {
        var machine = Machine(image: try Images.webProbe().path)
        machine.memory = memory
        machine.environment = environment
        var wanted = PortLimits()
        wanted.bufferSize = bufferSize
        let (prepared, limits) = (machine, wanted)
        let box = Box()
        self.box = box
        let ready = DispatchSemaphore(value: 0)
        let ended = DispatchSemaphore(value: 0)
        self.ended = ended
        let pipe = Pipe()
        Thread.detachNewThread {
            let data = pipe.fileHandleForReading.readDataToEndOfFile()
            box.console = data
        }
        // The kernel ends the parts of a run when the thread that started them ends.
        Thread.detachNewThread {
            box.outcome = Result {
                let launch = try Launch(
                    prepared, shares: [Share(tag: "site", folder: folder)],
                    ports: [PublishedPort(port: 0, guestPort: 80)], device: Images.device,
                    limits: limits)
                box.launch = launch
                launch.onPanic = { box.panic = $0 }
                launch.onReady = { port in
                    box.port = port.port
                    ready.signal()
                }
                return try launch.run(console: pipe.fileHandleForWriting)
            }
            try? pipe.fileHandleForWriting.close()
            ready.signal()
            ended.signal()
        }
        guard ready.wait(timeout: .now() + Patience.seconds) == .success, box.port != 0,
            let launch = box.launch
        else {
            throw LaunchError("the guest did not become ready: \(box.outcome)")
        }
        port = box.port
        stop = launch.stop
        processes = launch.processes
    }

    /// Ends the run.
    func end() {
        stop()
        _ = awaitEnd()
    }

    /// Waits for the run's end: the guest's status or the launcher's error; nil if it does not come in
    /// time.
    func awaitEnd() -> Result<Int32, any Error>? {
        guard ended.wait(timeout: .now() + Patience.seconds) == .success else { return nil }
        ended.signal()
        return box.outcome
    }

    /// How the guest has ended, in words; nil while it runs.
    private var lastWords: String? {
        guard ended.wait(timeout: .now()) == .success else { return nil }
        ended.signal()
        return "\(box.outcome), \(box.panic?.cause ?? "no panic")"
    }

    /// What the guest said about its panic, after its end.
    var panic: PanicReport? { box.panic }

    /// A figure that the guest reports about itself.
    @Core func figure(_ name: String) async throws -> Int {
        let stream = try await HostStream.connect(port: port)
        defer { stream.close() }
        return try await stream.figure(name)
    }

    /// Waits until the guest has no connection but the one that asks. The one that asked before may
    /// still linger, and as long as others hold its memory the guest may refuse whoever asks. Throws
    /// if it does not come to that: nothing that follows would mean anything.
    @Core func settle() async throws {
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        var last: Int?
        while Date() < limit {
            last = (try? await figure("connections")) ?? last
            if last == 1 { return }
            if let lastWords { throw LaunchError("the guest has ended: \(lastWords)") }
        }
        let left = last.map { "\($0 - 1) connections" } ?? "nobody knows how many connections"
        throw LaunchError("\(left) do not end, \(Int(Patience.seconds)) s after their clients did")
    }

    /// The answer to a GET on a connection of its own.
    @Core func get(_ target: String) async throws -> HTTPAnswer {
        let stream = try await HostStream.connect(port: port)
        defer { stream.close() }
        return try await stream.get(target)
    }
}

extension HostStream {
    /// Sends text.
    @Core func send(_ text: String) async throws {
        var buffer = try IOBuffer(capacity: text.utf8.count)
        for byte in text.utf8 { buffer.append(byte) }
        if case .failure(let error) = await send(buffer).result { throw error }
    }

    /// A figure that a guest reports about itself, the connection staying.
    @Core func figure(_ name: String) async throws -> Int {
        let answer = try await get("/.statistics")
        let lines = String(decoding: answer.body, as: UTF8.self).split(separator: "\n")
        let line = try #require(lines.first { $0.hasPrefix(name + " ") })
        return try #require(Int(line.dropFirst(name.count + 1)))
    }

    /// The answer to a GET, the connection staying.
    @Core func get(_ target: String) async throws -> HTTPAnswer {
        try await send("GET \(target) HTTP/1.1\r\nHost: h\r\n\r\n")
        return try #require(await HTTPAnswerReader(self).next(), "no whole answer to \(target)")
    }
}

/// The images that tests boot, each built once.
enum Images {
    /// The folder of Toro. This file is Tools/Tests/GuestTests/RunningGuest.swift.
    static let root = (0..<4).reduce(URL(fileURLWithPath: #filePath)) { url, _ in
        url.deletingLastPathComponent()
    }.path

    /// How the images are built: what `toro test -c` was told.
    static let configuration =
        ProcessInfo.processInfo.environment["TORO_TEST_CONFIGURATION"]
        .flatMap(BuildConfiguration.init(rawValue:)) ?? .debug

    /// What an answer with a body of `size` bytes may copy beside its head: unoptimized code moves
    /// its own values by memcpy, too.
    static func ownCopies(of size: Int) -> Int {
        configuration == .debug ? 4_096 + size / 64 : 0
    }

    private static let builtProbe = Result { try build("Probe") }
    private static let builtWebProbe = Result { try build("WebProbe") }

    static func probe() throws -> Image { try builtProbe.get() }
    static func webProbe() throws -> Image { try builtWebProbe.get() }

    private static func build(_ product: String) throws -> Image {
        try ImageBuild(root: root, configuration: configuration)
            .build(package: root + "/Tests/Guests", product: product)
    }

    /// The vsock device, which the tests' build has put beside the test program.
    static var device: String? { tool("toro-vsock-device") }

    /// A program that the tests' build has put beside the test program.
    static func tool(_ name: String) -> String? {
        // The test program is in the same folder, or in a bundle there.
        let own = URL(fileURLWithPath: CommandLine.arguments[0])
        for folder in [own, own.deletingLastPathComponent()] {
            let path = folder.deletingLastPathComponent().path + "/" + name
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        let path = root + "/Tools/.build/debug/" + name
        return FileManager.default.isExecutableFile(atPath: path) ? path : nil
    }
}

/// A folder of its own for a test.
final class TestFolder {
    let path = NSTemporaryDirectory() + "toro-test-\(UUID().uuidString)"

    init() throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// A folder with a program, a shell script, and a PATH in which it comes before all others for as
    /// long as the folder is there.
    static func inPath(_ program: String, _ script: String) throws -> (TestFolder, path: String) {
        let folder = try TestFolder()
        let isMade = FileManager.default.createFile(
            atPath: folder.path + "/" + program, contents: Data(("#!/bin/sh\n" + script).utf8),
            attributes: [.posixPermissions: 0o755])
        #expect(isMade)
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        return (folder, folder.path + ":" + path)
    }

    /// Makes the files of a recipe.
    func make(_ recipe: FileSystemRecipe) throws {
        for item in recipe.items {
            switch item.content {
            case .directory:
                try unsafe call(item.path) { path in unsafe mkdir(path, 0o755) }
            case .symbolicLink(let target):
                let text = (target + [0]).map { CChar(bitPattern: $0) }
                try unsafe call(item.path) { path in unsafe symlink(text, path) }
            case .file(let bytes): try write(bytes, to: item.path)
            case .patternFile(let length):
                try write((0..<length).map { FileSystemRecipe.pattern(at: $0) }, to: item.path)
            }
        }
    }

    /// Makes a file, whose name need not be UTF-8.
    func write(_ bytes: [UInt8], to path: Path) throws {
        var file: Int32 = -1
        try unsafe call(path) { name in
            file = unsafe open(name, O_CREAT | O_WRONLY | O_TRUNC, 0o644)
            return file < 0 ? -1 : 0
        }
        let handle = FileHandle(fileDescriptor: file, closeOnDealloc: true)
        try handle.write(contentsOf: Data(bytes))
    }

    @unsafe private func call(_ path: Path, _ body: (UnsafePointer<CChar>) -> Int32) throws {
        let name = (Array(self.path.utf8) + [0x2f] + path.bytes + [0])
            .map { CChar(bitPattern: $0) }
        // SAFETY: the name ends with NUL and outlives the call.
        let result = unsafe name.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return Int32(-1) }
            return unsafe body(base)
        }
        guard result == 0 else { throw LaunchError("cannot make \(path): errno \(errno)") }
    }
}
