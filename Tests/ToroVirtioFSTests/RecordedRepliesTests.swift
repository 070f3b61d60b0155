import Testing
import ToroCore
import ToroTesting
import ToroVirtioFS

/// What QEMU 7.2's virtiofsd answered, recorded on a booted guest, answered again: the parsers
/// agree with the real daemon, not only with a mock by the same hand.
@Suite(.timeLimit(.minutes(5))) struct RecordedRepliesTests {
    /// The mock takes the requests and has the chains; every reply is the recorded one.
    @Core private func share() -> (share: Share, recording: Recording) {
        let tree = MemoryTree()
        tree.addFile("/docs/a.txt", "-")
        tree.addSymbolicLink("/link", to: "-")
        let share = Share(tree)
        let recording = Recording()
        share.server.mangle = { recording.replace(&$0) }
        return (share, recording)
    }

    @Test @Core func virtiofsdIsUnderstood() async throws {
        let (share, recording) = share()
        let files = try await share.mount()

        let root = try await files.attributes(at: .root)
        #expect(root.kind == .directory)
        #expect(root.permissions == 0o755)

        let attributes = try await files.attributes(at: "/docs/a.txt")
        #expect(attributes.kind == .regular)
        #expect(attributes.size == 5)
        #expect(attributes.permissions == 0o644)
        #expect(attributes.modified == WallTime(seconds: 1_709_210_096, nanoseconds: 789_000_000))

        #expect(try await files.contents(of: "/link", limit: 100) == Array("alpha".utf8))

        let directory = try await files.openDirectory("/docs")
        var entries: [DirectoryEntry] = []
        while let entry = try await directory.next() { entries.append(entry) }
        directory.close()
        let names = entries.map { String(decoding: $0.name, as: UTF8.self) }
        #expect(names.sorted() == ["a.txt", "b.txt"])
        #expect(entries.allSatisfy { $0.kind == .regular })

        #expect(try await files.readLink("/link") == Array("docs/a.txt".utf8))

        let statistics = try await files.statistics()
        #expect(statistics.blockSize == 4096)
        #expect(statistics.blocks == 66_053_021)

        await #expect(throws: FileError.notFound) { try await files.open("/docs/missing") }
        #expect(recording.isOver)
        #expect(recording.surprises == [])
    }
}

/// Replies that are given in the order of the recording.
@Core private final class Recording {
    private var rest = Recording.virtiofsd[...]
    /// Operations that were asked for when the recording has another.
    private(set) var surprises: [UInt32] = []

    /// Whether every reply was given.
    var isOver: Bool { rest.isEmpty }

    /// Puts the next recorded reply in the place of `reply`, as the answer to the same request.
    func replace(_ reply: inout MockFUSEServer.Reply) {
        guard let next = rest.popFirst(), next.opcode == reply.opcode else {
            return surprises.append(reply.opcode)
        }
        let unique = reply.bytes[8..<16]
        reply.bytes = next.bytes
        reply.bytes.replaceSubrange(8..<16, with: unique)
    }

    /// Operation and reply (`struct fuse_out_header` and what follows), little-endian, of the calls
    /// in `virtiofsdIsUnderstood`.
    private static let virtiofsd: [(opcode: UInt32, bytes: [UInt8])] = [
        (
            26,
            hex(
                """
                50000000000000000200000000000000070000002400000000001000210044000000000000001000\
                01000000000100000000000000000000000000000000000000000000000000000000000000000000
                """)
        ),
        (
            3,
            hex(
                """
                780000000000000004000000000000000100000000000000000000000000000071c2f70000000000\
                0010000000000000080000000000000026a2056b0000000026a2056b0000000026a2056b00000000\
                dccd5820dce80f21dce80f21ed410000030000000000000000000000000000000010000000000000
                """)
        ),
        (
            1,
            hex(
                """
                90000000000000000600000000000000020000000000000000000000000000000100000000000000\
                0100000000000000000000000000000072c2f7000000000000100000000000000800000000000000\
                26a2056b0000000026a2056b0000000026a2056b00000000d5ecaa20dccd5820dccd5820ed410000\
                020000000000000000000000000000000010000000000000
                """)
        ),
        (
            1,
            hex(
                """
                90000000000000000800000000000000030000000000000000000000000000000100000000000000\
                0100000000000000000000000000000073c2f7000000000005000000000000000800000000000000\
                f079e06500000000f079e0650000000026a2056b00000000402f072f402f072fdcdfd220a4810000\
                010000000000000000000000000000000010000000000000
                """)
        ),
        (
            1,
            hex(
                """
                90000000000000000a00000000000000040000000000000000000000000000000100000000000000\
                0100000000000000000000000000000075c2f700000000000a000000000000000000000000000000\
                26a2056b0000000026a2056b0000000026a2056b00000000dce80f21dce80f21dce80f21ffa10000\
                010000000000000000000000000000000010000000000000
                """)
        ),
        (
            5,
            hex("1a000000000000000c00000000000000646f63732f612e747874")
        ),
        (
            14,
            hex("20000000000000000e0000000000000000000000000000000000000000000000")
        ),
        (
            15,
            hex("15000000000000001000000000000000616c706861")
        ),
        (
            15,
            hex("10000000000000001200000000000000")
        ),
        (
            15,
            hex("10000000000000001400000000000000")
        ),
        (
            18,
            hex("10000000000000001600000000000000")
        ),
        (
            27,
            hex("2000000000000000180000000000000000000000000000000000000000000000")
        ),
        (
            28,
            hex(
                """
                90000000000000001a0000000000000072c2f70000000000264b0383bb7a06230100000004000000\
                2e0000000000000074c2f700000000001eba4030d7643a580500000008000000622e747874000000\
                71c2f700000000002b3ab2ef6f70a77802000000040000002e2e00000000000073c2f70000000000\
                ffffffffffffff7f0500000008000000612e747874000000
                """)
        ),
        (
            28,
            hex("10000000000000001c00000000000000")
        ),
        (
            29,
            hex("10000000000000001e00000000000000")
        ),
        (
            5,
            hex("1a000000000000002000000000000000646f63732f612e747874")
        ),
        (
            17,
            hex(
                """
                600000000000000022000000000000009de3ef0300000000c669b30300000000ec6d3d0100000000\
                000000010000000086c9f9000000000000100000ff00000000100000000000000000000000000000\
                00000000000000000000000000000000
                """)
        ),
        (
            1,
            hex("10000000feffffff2400000000000000")
        ),
    ]

    private static func hex(_ digits: String) -> [UInt8] {
        let values = digits.compactMap(\.hexDigitValue)
        return stride(from: 0, to: values.count, by: 2).map {
            UInt8(values[$0] << 4 | values[$0 + 1])
        }
    }
}
