import Foundation
import Testing
import ToroCore
import ToroHTTP
import ToroHost
import ToroTesting

/// A folder of its own for a test.
final class Folder {
    let path = NSTemporaryDirectory() + "toro-host-\(UUID().uuidString)"

    init() throws {
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Makes the recipe's files, whose names need not be UTF-8.
    func make(_ recipe: FileSystemRecipe) {
        for item in recipe.items {
            let name = Array(path.utf8) + [0x2f] + item.path.bytes + [0]
            // SAFETY: the bytes end with NUL and outlive each call.
            unsafe name.withUnsafeBytes { raw in
                guard let path = unsafe raw.baseAddress?.assumingMemoryBound(to: CChar.self) else {
                    return
                }
                switch item.content {
                case .directory: _ = unsafe mkdir(path, 0o755)
                case .symbolicLink(let target):
                    _ = unsafe symlink((target + [0]).map { CChar(bitPattern: $0) }, path)
                case .file(let bytes): unsafe write(bytes, path)
                case .patternFile(let length):
                    unsafe write((0..<length).map { FileSystemRecipe.pattern(at: $0) }, path)
                }
            }
        }
    }

    @unsafe private func write(_ bytes: [UInt8], _ path: UnsafePointer<CChar>) {
        let file = unsafe open(path, O_CREAT | O_WRONLY | O_TRUNC, 0o644)
        var done = 0
        while done < bytes.count {
            let step = unsafe bytes[done...].withUnsafeBytes {
                unsafe Glibc.write(file, $0.baseAddress, $0.count)
            }
            guard step > 0 else { break }
            done += step
        }
        close(file)
    }
}

@Suite struct ToroHostTests {
    @Test @Core func aFolderConformsToTheFileSystemProtocol() async throws {
        let folder = try Folder()
        folder.make(.standard())
        let conformance = FileSystemConformance(try HostFolder(folder.path))
        conformance.change = { path, bytes in
            let name = folder.path + "/" + String(decoding: path.bytes, as: UTF8.self)
            guard let file = FileHandle(forWritingAtPath: name) else { return }
            try? file.truncate(atOffset: 0)
            try? file.write(contentsOf: Data(bytes))
            try? file.close()
        }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 400)
    }

    @Test(.timeLimit(.minutes(5))) @Core
    func aTCPStreamConformsToTheStreamProtocol() async throws {
        let listener = try HostListener(port: 0)
        defer { listener.close() }
        let conformance = ByteStreamConformance { () -> (HostStream, HostStream)? in
            guard let client = try? await HostStream.connect(port: listener.port),
                let server = try? await listener.accept()
            else { return nil }
            return (server, client)
        }
        // The kernel keeps megabytes for a slow reader.
        conformance.largeLength = 8 << 20
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 200)
    }

    @Test @Core func aWebServerOnTCPConformsToHTTP() async throws {
        let folder = try Folder()
        folder.make(HTTPSite.recipe)
        let listener = try HostListener(port: 0)
        let files = try HostFolder(folder.path)
        let server = Task { @Core in try? await HTTPServer(files: files).serve(listener) }
        let conformance = HTTPConformance { try? await HostStream.connect(port: listener.port) }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 250)
        listener.close()
        await server.value
    }

    @Test @Core func whatIsMissingIsNamed() async throws {
        let host = try Host(["--share", "site=/nonexistent", "--", "a", "b"])
        #expect(host.arguments == ["a", "b"])
        #expect(throws: WiringError.badArgument("/nonexistent: no such file or directory")) {
            try host.folder(tag: "site")
        }
        #expect(
            throws: WiringError.badArgument("the share other is needed: --share other=FOLDER")
        ) { try host.folder(tag: "other") }
        #expect(throws: WiringError.badArgument("port 80 is needed: --publish PORT:80")) {
            try host.listen(80)
        }
        #expect(throws: WiringError.self) { try Host(["--share"]) }
    }

    @Test @Core func aPortInUseIsSaid() async throws {
        let listener = try HostListener(port: 0)
        #expect(throws: ListenError.portInUse(UInt32(listener.port))) {
            try HostListener(port: listener.port)
        }
        listener.close()
    }
}
