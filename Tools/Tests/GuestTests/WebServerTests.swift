import Foundation
import Launcher
import Testing
import ToroCore
import ToroHost
import ToroTesting

/// The main job: files of a real folder, over virtio-fs, HTTP and vsock, from a booted guest.
@Suite(.serialized) struct WebServerTests {
    @Test @Core func conformsToHTTP() async throws {
        let folder = try TestFolder()
        try folder.make(HTTPSite.recipe)
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        let conformance = HTTPConformance { try? await HostStream.connect(port: guest.port) }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 250)
    }

    @Test @Core func everyFileOfARealTreeIsTheSame() async throws {
        let tree = "/usr/share/doc"
        let guest = try RunningGuest(sharing: tree)
        defer { guest.end() }
        let stream = try await HostStream.connect(port: guest.port)
        defer { stream.close() }
        let root = URL(fileURLWithPath: tree)
        let files = try #require(FileManager.default.enumerator(atPath: tree))
        var count = 0
        for case let name as String in files {
            let url = root.appendingPathComponent(name)
            let real = url.resolvingSymlinksInPath().path
            guard real.hasPrefix(tree + "/"), real == url.path,
                let values = try? url.resourceValues(forKeys: [.isRegularFileKey]),
                values.isRegularFile == true, let bytes = FileManager.default.contents(atPath: real)
            else { continue }
            let allowed = CharacterSet.alphanumerics.union(CharacterSet(charactersIn: "/-._~"))
            let target = try #require(name.addingPercentEncoding(withAllowedCharacters: allowed))
            let answer = try await stream.get("/" + target)
            #expect(answer.status == 200, "\(name)")
            #expect(answer.body == Array(bytes), "\(name)")
            count += 1
            if count == 1000 { break }
        }
        #expect(count > 20)
    }

    @Test @Core func namesAreBytesAndLinksStayInside() async throws {
        let folder = try TestFolder()
        try folder.make(.standard())
        try folder.write(Array("secret".utf8), to: "secret")
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        for (target, status) in [
            ("/with%20space", 200), ("/100%2525", 200), ("/%FF%FE", 200), ("/a%80%C3", 200),
            ("/line%0Abreak", 200), ("/links/file", 200), ("/links/winding", 200),
            ("/links/absolute", 404), ("/links/up", 404), ("/links/self", 404),
            ("/../secret", 400), ("/%2e%2e/secret", 400), ("/a/..%2f..%2fsecret", 400),
            ("/secret%00", 400),
        ] {
            let answer = try await guest.get(target)
            #expect(answer.status == status || (status == 404 && answer.status == 403), "\(target)")
            if status != 200 { #expect(!answer.body.starts(with: Array("secret".utf8))) }
        }
    }

    @Test @Core func aLargeFilePassesThroughASmallGuest() async throws {
        let folder = try TestFolder()
        let size = 64 << 20
        var bytes = [UInt8](repeating: 0, count: size)
        var state: UInt64 = 1
        for index in stride(from: 0, to: size, by: 8) {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            bytes[index] = UInt8(truncatingIfNeeded: state >> 33)
        }
        try folder.write(bytes, to: "large")
        let guest = try RunningGuest(sharing: folder.path, memory: "16M")
        defer { guest.end() }
        let before = try await guest.figure("copied")
        let stream = try await HostStream.connect(port: guest.port)
        defer { stream.close() }
        try await stream.send("GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        let received = try await stream.rest()
        #expect(received.count > size)
        #expect(received.suffix(size).elementsEqual(bytes))
        // The body is never copied: two heads, and the few bytes of a connection.
        let copied = try await guest.figure("copied") - before
        #expect(copied < 1_024 + Images.ownCopies(of: size))
    }

    /// For an answer with a file the guest copies no more bytes than the answer's head has,
    /// however long the file is.
    @Test @Core func aFilesBytesAreNotCopied() async throws {
        let folder = try TestFolder()
        let sizes = [0, 1, 600, 1_023, 100_000, 10_000_000]
        for size in sizes {
            try folder.write([UInt8](repeating: 7, count: size), to: Path("f\(size)"))
        }
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        let stream = try await HostStream.connect(port: guest.port)
        defer { stream.close() }
        for size in sizes {
            let first = try await stream.figure("copied")
            let second = try await stream.figure("copied")
            let answer = try await stream.get("/f\(size)")
            let third = try await stream.figure("copied")
            #expect(answer.status == 200 && answer.body.count == size)
            // What one look at the figure costs is not the file's.
            let copied = (third - second) - (second - first)
            let head = answer.fields.reduce("HTTP/1.1 200 OK\r\n\r\n".utf8.count) {
                $0 + $1.name.utf8.count + $1.value.utf8.count + ": \r\n".utf8.count
            }
            let request = "GET /f\(size) HTTP/1.1\r\nHost: h\r\n\r\n".utf8.count
            let most = request + head + Images.ownCopies(of: size)
            #expect((1...most).contains(copied), "\(size) bytes: \(copied) of \(request) + \(head)")
        }
    }

    @Test @Core func smallCreditCarriesFilesAndWhatNobodyReads() async throws {
        let folder = try TestFolder()
        let bytes = (0..<(8 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
        try folder.write(bytes, to: "file")
        let guest = try RunningGuest(sharing: folder.path, environment: [("CREDIT", "4096")])
        defer { guest.end() }
        let answer = try await guest.get("/file")
        #expect(answer.body == bytes)
        // A body nobody asked for goes the other way.
        let stream = try await HostStream.connect(port: guest.port)
        defer { stream.close() }
        let text = String(repeating: "x", count: 60_000)
        for _ in 0..<20 {
            try await stream.send(
                "GET /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n")
            try await stream.send(text)
            #expect(try #require(await HTTPAnswerReader(stream).next()).status == 404)
        }
    }

    /// 100 MB go in and come back, with room for 4 KiB on either side.
    @Test @Core func smallCreditOnEitherSideLosesNothing() async throws {
        let folder = try TestFolder()
        let guest = try RunningGuest(
            sharing: folder.path, environment: [("CREDIT", "4096")], bufferSize: 4096)
        defer { guest.end() }
        let stream = try await HostStream.connect(port: guest.port)
        defer { stream.close() }
        // A prime length: the bytes of a block are never at the same place in a packet again.
        let (length, count) = (65_521, 1_527)
        var random = SeededRandom(seed: 1)
        let block = (0..<length).map { _ in UInt8(random.below(256)) }
        let sender = Task { @Core in
            try await stream.send(
                "POST /.echo HTTP/1.1\r\nHost: h\r\nContent-Length: \(length * count)\r\n\r\n")
            for _ in 0..<count {
                var buffer = try IOBuffer(capacity: length)
                // SAFETY: the span ends before the array changes, which nobody does.
                buffer.append(unsafe block.span.bytes)
                _ = try await stream.send(buffer).result.get()
            }
        }
        let blocks = Data(block + block + block)
        let headEnd = Data("\r\n\r\n".utf8)
        var head = Data()
        var received = 0
        while received < length * count, let buffer = try await stream.receive() {
            var bytes = buffer.withBytes { unsafe $0.withUnsafeBytes { unsafe Data($0) } }
            if received == 0 {
                head += bytes
                guard let end = head.range(of: headEnd) else { continue }
                bytes = Data(head[end.upperBound...])
            }
            let place = received % length
            try #require(bytes == blocks[place..<place + bytes.count], "after \(received) bytes")
            received += bytes.count
        }
        try await sender.value
        #expect(received == length * count)
        #expect(try await guest.figure("connections") <= 2)
    }

    @Test @Core func manyConnectionsLeaveNothingBehind() async throws {
        let folder = try TestFolder()
        try folder.make(HTTPSite.recipe)
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        // Tables and the host's allocator grow up to what a load of this kind needs.
        for _ in 0..<3 { try await held(1000, to: guest) }
        try await sequential(2500, to: guest)
        try await guest.settle()
        let before = try await restingMemory(guest)
        let device = try #require(guest.processes.first { $0.name == "the vsock device" })
        let memory = try residentPages(device.pid)
        try await held(1000, to: guest)
        try await sequential(2500, to: guest)
        try await guest.settle()
        #expect(try await restingMemory(guest) == before)
        #expect(try residentPages(device.pid) - memory < 256)
    }

    @Test @Core func manyRequestsAreInFlight() async throws {
        let folder = try TestFolder()
        for index in 0..<64 {
            try folder.write([UInt8](repeating: 7, count: 200_000), to: Path("f\(index)"))
        }
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        let answers = (0..<64).map { index in Task { @Core in try await guest.get("/f\(index)") } }
        for answer in answers { #expect(try await answer.value.body.count == 200_000) }
        #expect(try await guest.figure("requests") > 8)
    }

    /// Interrupts only wake: a busy guest takes fewer than it answers requests, an idle one none.
    @Test @Core func aBusyGuestTakesFewInterrupts() async throws {
        let folder = try TestFolder()
        try folder.write(Array("alpha".utf8), to: "a.txt")
        let guest = try RunningGuest(sharing: folder.path)
        defer { guest.end() }
        let before = try await guest.figure("interrupts")
        let clients = (0..<64).map { _ in
            Task { @Core in
                let stream = try await HostStream.connect(port: guest.port)
                defer { stream.close() }
                for _ in 0..<50 { #expect(try await stream.get("/a.txt").status == 200) }
            }
        }
        for client in clients { try await client.value }
        let after = try await guest.figure("interrupts")
        #expect(after - before < 64 * 50, "\(after - before) interrupts")
        // What closes the connections above is over after the first look.
        let idle = try await guest.figure("interrupts")
        try await Task.sleep(for: .seconds(2))
        let later = try await guest.figure("interrupts") - idle
        #expect(later < 30, "\(later) interrupts while idle")
        // None of them was found only because the guest looked.
        #expect(try await guest.figure("late") == 0)
    }

    // MARK: Loads

    /// Holds connections that have asked once, serves others meanwhile, and asks again on each.
    @Core private func held(_ count: Int, to guest: RunningGuest) async throws {
        var streams: [HostStream] = []
        defer { for stream in streams { stream.close() } }
        for _ in 0..<count {
            let stream = try await HostStream.connect(port: guest.port)
            streams.append(stream)
            #expect(try await stream.get("/a.txt").status == 200)
        }
        #expect(try await guest.figure("connections") > count)
        for stream in streams { #expect(try await stream.get("/dir/b.css").status == 200) }
    }

    /// Asks once on each of so many connections, one after the other.
    @Core private func sequential(_ count: Int, to guest: RunningGuest) async throws {
        for _ in 0..<count { #expect(try await guest.get("/a.txt").body.count == 5) }
    }

    /// The guest's live objects and their bytes once nothing is under way but one connection that
    /// asks again and again: each one before may still be on its way out, by an object or two.
    @Core private func restingMemory(_ guest: RunningGuest) async throws -> [Int] {
        let stream = try await HostStream.connect(port: guest.port)
        defer { stream.close() }
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        var last: [Int] = []
        var equal = 0
        while equal < 50 {
            guard Date() < limit else { throw LaunchError("the guest's memory does not rest") }
            let figures = [
                try await stream.figure("connections"), try await stream.figure("objects"),
                try await stream.figure("bytes"),
            ]
            equal = figures == last ? equal + 1 : 0
            last = figures
        }
        return last
    }

    private func residentPages(_ pid: Int32) throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(pid)/statm", encoding: .utf8)
        return try #require(Int(text.split(separator: " ")[1]))
    }
}

extension HostStream {
    /// All bytes up to the end.
    @Core func rest() async throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let buffer = try await receive() {
            buffer.withBytes { span in
                // SAFETY: the bytes are copied within the call.
                unsafe span.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
            }
        }
        return bytes
    }
}
