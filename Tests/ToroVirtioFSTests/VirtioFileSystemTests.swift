import Testing
import ToroCore
import ToroTesting
import ToroVirtio
import ToroVirtioFS

typealias Files = VirtioFileSystem

/// A driver with a server it can be told to distrust.
@Core final class Share {
    let server: MockFUSEServer
    let clock = VirtualClock()

    init(_ tree: MemoryTree) { server = MockFUSEServer(tree) }

    func mount() async throws(WiringError) -> Files {
        try await MockVirtioBus(server.device).virtioFS(tag: "site", clock: clock)
    }
}

@Suite(.timeLimit(.minutes(5))) struct VirtioFileSystemTests {
    @Core private func standardTree() -> MemoryTree {
        let tree = MemoryTree()
        FileSystemRecipe.standard().build(in: tree)
        return tree
    }

    @Core private func smallTree() -> MemoryTree {
        let tree = MemoryTree()
        tree.addFile("/docs/a.txt", "alpha")
        tree.addFile("/docs/b.txt", "beta")
        tree.addSymbolicLink("/link", to: "docs/a.txt")
        return tree
    }

    @Test(arguments: [0, 1]) @Core func conforms(_ seconds: UInt64) async throws {
        let share = Share(standardTree())
        share.server.validity = .seconds(seconds)
        let conformance = FileSystemConformance(try await share.mount())
        conformance.change = { path, bytes in
            share.server.tree.node(at: path)?.contents = bytes
            share.server.tree.node(at: path)?.modified.seconds += 1
        }
        for failure in await conformance.run() { Issue.record("\(failure)") }
        #expect(conformance.checks > 400)
        #expect(share.server.violations == [])
        #expect(share.server.handles.isEmpty)
    }

    @Test @Core func namesAndAttributesAreRememberedAsLongAsTheHostAllows() async throws {
        let share = Share(smallTree())
        share.server.validity = .seconds(10)
        let files = try await share.mount()
        for _ in 0..<5 { _ = try await files.attributes(at: "/docs/a.txt") }
        #expect(share.server.operations[1] == 2)
        #expect(share.server.operations[3] == nil)
        await share.clock.advance(by: .seconds(10))
        _ = try await files.attributes(at: "/docs/a.txt")
        #expect(share.server.operations[1] == 4)
    }

    /// Whatever is remembered of a path, an open file tells what it is now, in one request; and what
    /// it told is remembered.
    @Test @Core func anOpenFileTellsItsCurrentAttributes() async throws {
        let share = Share(smallTree())
        share.server.validity = .seconds(10)
        let files = try await share.mount()
        let node = try #require(share.server.tree.node(at: "/docs/a.txt"))
        #expect(try await files.attributes(at: "/docs/a.txt").size == 5)
        node.contents += [0x21]
        let file = try await files.open("/docs/a.txt")
        #expect(file.attributes.size == 5 && share.server.operations[3] == nil)
        #expect(try await file.currentAttributes().size == 6)
        #expect(share.server.operations[3] == 1)
        #expect(try await files.attributes(at: "/docs/a.txt").size == 6)
        #expect(share.server.operations[3] == 1)
        // Another file in its place is none of this one's.
        share.server.tree.addFile("/docs/a.txt", "another")
        node.contents += [0x21]
        #expect(try await file.currentAttributes().size == 7)
        #expect(share.server.violations == [])
    }

    /// A directory's cookies are the host's: also those that look negative, and the last number.
    @Test(arguments: [1 << 63, .max - 0xffff, .max << 20] as [UInt64]) @Core
    func aCookieIsAnyNumber(_ bits: UInt64) async throws {
        let tree = MemoryTree()
        for index in 0..<1_000 { tree.addFile(Path("/many/file\(index)"), "x") }
        let share = Share(tree)
        share.server.cookieBits = bits
        let directory = try await share.mount().openDirectory("/many")
        var names: [String] = []
        while let entry = try await directory.next() {
            names.append(String(decoding: entry.name, as: UTF8.self))
        }
        #expect(names == (0..<1_000).map { "file\($0)" })
    }

    @Test @Core func referencesAreGivenBackInBatches() async throws {
        let tree = MemoryTree()
        for index in 0..<1_000 { tree.addFile(Path("/f\(index)"), "x") }
        let share = Share(tree)
        let files = try await share.mount()
        for index in 0..<1_000 { _ = try await files.attributes(at: Path("/f\(index)")) }
        await HostRunLoop.shared.settle()
        #expect(share.server.violations == [])
        #expect(share.server.references.values.reduce(0, +) < 64)
        #expect((share.server.operations[42] ?? 0) <= 16)
    }

    @Test @Core func manyRequestsAreInFlightAndMayComeBackInAnyOrder() async throws {
        let tree = MemoryTree()
        for index in 0..<40 { tree.addFile(Path("/f\(index)"), "contents of \(index)") }
        let share = Share(tree)
        let files = try await share.mount()
        share.server.isHolding = true
        let tasks = (0..<40).map { index in
            Task { try await files.contents(of: Path("/f\(index)"), limit: 100) }
        }
        await HostRunLoop.shared.settle()
        #expect(share.server.heldCount == 40)
        while share.server.heldCount > 0 {
            share.server.release(reversed: true)
            share.server.isHolding = true
            await HostRunLoop.shared.settle()
        }
        for (index, task) in tasks.enumerated() {
            #expect(try await task.value == Array("contents of \(index)".utf8))
        }
        #expect(files.peakRequestsInFlight == 40)
        #expect(share.server.handles.isEmpty)
    }

    /// Ways to break a reply, each with the name of the lie.
    @Core private static let lies:
        [(name: String, lie: @Core (inout MockFUSEServer.Reply) -> Void)] =
            [
                ("no bytes", { $0.bytes = [] }),
                ("half a header", { $0.bytes = Array($0.bytes.prefix(9)) }),
                ("a length that is too large", { $0.bytes[0] &+= 1 }),
                ("a length that is too small", { $0.bytes[0] = 15 }),
                ("another request's number", { $0.bytes[8] ^= 2 }),
                ("a positive error", { $0.bytes[4] = 5 }),
                (
                    "an impossible error",
                    { $0.bytes.replaceSubrange(4..<8, with: [0, 0, 0, 0x80]) }
                ),
                ("more written than there is room", { $0.written = 1 << 20 }),
                ("less written than said", { $0.written = 16 }),
                ("the same reply twice", { $0.copies = 2 }),
            ]

    @Test(arguments: 0..<10) @Core func aLieIsATypedError(_ index: Int) async throws {
        let lie = VirtioFileSystemTests.lies[index]
        // Each operation in turn: INIT, GETATTR, LOOKUP, READLINK, OPEN, READ, OPENDIR, READDIR.
        for opcode in [26, 3, 1, 5, 14, 15, 27, 28] as [UInt32] {
            let share = Share(smallTree())
            var told = false
            share.server.mangle = { reply in
                guard reply.opcode == opcode, !told else { return }
                told = true
                lie.lie(&reply)
            }
            let errors = await exercise(share)
            #expect(told, "\(lie.name): operation \(opcode) was not asked for")
            // Giving a reply twice harms nobody until the next one is looked at.
            #expect(!errors.isEmpty || lie.name == "the same reply twice", "\(lie.name), \(opcode)")
            #expect(errors.allSatisfy { $0 == .deviceFailed }, "\(lie.name), \(opcode): \(errors)")
        }
    }

    /// Does everything once; the errors.
    @Core private func exercise(_ share: Share) async -> [FileError] {
        let files: Files
        do throws(WiringError) { files = try await share.mount() } catch { return [.deviceFailed] }
        var errors: [FileError] = []
        do throws(FileError) {
            let text = try await files.contents(of: "/link", limit: 100)
            if text != Array("alpha".utf8) { errors.append(.invalidPath) }
        } catch { errors.append(error) }
        do throws(FileError) {
            let directory = try await files.openDirectory("/docs")
            for _ in 0..<100 { if try await directory.next() == nil { break } }
            directory.close()
        } catch { errors.append(error) }
        do throws(FileError) {
            _ = try await files.statistics()
            if try await files.attributes(at: .root).kind != .directory {
                errors.append(.invalidPath)
            }
        } catch { errors.append(error) }
        return errors
    }

    /// Replies with bytes changed at random: whatever the host says, the guest gets an answer or
    /// a typed error, and never waits for ever.
    @Test(arguments: FuzzSeeds.all(1...300)) @Core func survivesNonsense(_ first: UInt64) async {
        for seed in FuzzSeeds(from: first) { await nonsense(seed) }
    }

    @Core private func nonsense(_ seed: UInt64) async {
        var random = SeededRandom(seed: seed)
        let share = Share(smallTree())
        share.server.mangle = { reply in
            guard random.below(3) == 0 else { return }
            switch random.below(4) {
            case 0: reply.bytes = Array(reply.bytes.prefix(random.below(reply.bytes.count + 1)))
            case 1: reply.bytes += (0..<random.below(40)).map { _ in UInt8(random.below(256)) }
            case 2: reply.written = random.below(300)
            default:
                // Behind the header, so that it gets as far as the parsers.
                for _ in 0..<1 + random.below(4) where reply.bytes.count > 16 {
                    let place = 16 + random.below(reply.bytes.count - 16)
                    reply.bytes[place] = UInt8(random.below(256))
                }
            }
        }
        _ = await exercise(share)
        #expect(share.server.violations.allSatisfy { $0 != "no room for the reply" })
    }

    /// Wherever the list of a directory is cut off, the entries before are read, and no other.
    @Test @Core func aCutEntryIsNone() async throws {
        // Each entry takes 32 bytes, padding included: `.`, `..`, `a.txt`, `b.txt`.
        let needed = [25, 26, 29, 29]
        for length in 0..<128 {
            let share = Share(smallTree())
            var isCut = false
            share.server.mangle = { reply in
                guard reply.opcode == 28, !isCut else { return }
                isCut = true
                // What is behind lies there, but is not said to have been written.
                reply.bytes[0] = UInt8(16 + length)
                reply.written = 16 + length
            }
            let directory = try await share.mount().openDirectory("/docs")
            var names: [String] = []
            var failure: FileError?
            do throws(FileError) {
                while let entry = try await directory.next() {
                    names.append(String(decoding: entry.name, as: UTF8.self))
                }
            } catch {
                failure = error
            }
            let (whole, rest) = length.quotientAndRemainder(dividingBy: 32)
            if rest > 0, rest < needed[whole] {
                #expect(failure == .deviceFailed, "cut at \(length)")
                #expect(
                    names == Array(["a.txt", "b.txt"][..<max(whole - 2, 0)]), "cut at \(length)")
            } else {
                #expect(failure == nil, "cut at \(length)")
            }
        }
    }

    @Test @Core func aDirectoryOfNothingButDotsEnds() async throws {
        let share = Share(smallTree())
        let files = try await share.mount()
        share.server.mangle = { reply in
            guard reply.opcode == 28 else { return }
            // One entry, ".", for ever.
            var bytes = Array(reply.bytes.prefix(16)) + [UInt8](repeating: 0, count: 16)
            bytes += [1, 0, 0, 0, 4, 0, 0, 0, 0x2e, 0, 0, 0, 0, 0, 0, 0]
            bytes[0] = UInt8(bytes.count)
            reply.bytes = bytes
        }
        let directory = try await files.openDirectory("/docs")
        await #expect(throws: FileError.deviceFailed) { try await directory.next() }
    }

    @Test @Core func aShareThatIsNotThereIsNamed() async {
        let bus = MockVirtioBus(MockFUSEServer(MemoryTree(), tag: "other").device)
        await #expect {
            _ = try await bus.virtioFS(tag: "site", clock: VirtualClock())
        } throws: { ($0 as? WiringError)?.name.description == "site" }
    }

    /// A driver whose setup fails has told the device of none of its memory, which is freed.
    @Test(arguments: [[], [16], [16, 0], [16, 1]] as [[UInt16]]) @Core
    func aDeviceWithoutAQueueKeepsNone(_ sizes: [UInt16]) async {
        let share = Share(smallTree())
        share.server.device.queueSizes = sizes
        await #expect(throws: WiringError.self) { _ = try await share.mount() }
        #expect(share.server.device.queues.allSatisfy { $0 == nil })
        #expect(share.server.device.status.contains(.failed))
    }
}
