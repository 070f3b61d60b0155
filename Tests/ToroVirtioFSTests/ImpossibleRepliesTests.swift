import Testing
import ToroCore
import ToroTesting
import ToroVirtioFS

/// Replies that are whole and in form, and say what cannot be.
@Suite(.timeLimit(.minutes(5))) struct ImpossibleRepliesTests {
    /// A lie told in the replies to one operation.
    struct Lie: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let opcode: UInt32
        var error = FileError.deviceFailed
        let tell: @Core @Sendable (inout MockFUSEServer.Reply) -> Void
    }

    static let lookup: UInt32 = 1
    static let readLink: UInt32 = 5
    static let readDirectory: UInt32 = 28

    /// Where `struct fuse_attr` begins in the reply to LOOKUP.
    private static let attributes = 16 + 40

    static let lies: [Lie] = [
        // Not even a lie: a name that there is not, with a time that may be remembered.
        Lie(testDescription: "node 0", opcode: lookup, error: .notFound) {
            $0.bytes.replaceSubrange(16..<24, with: [UInt8](repeating: 0, count: 8))
        },
        Lie(testDescription: "node 0 and no attributes", opcode: lookup, error: .notFound) {
            $0.bytes.replaceSubrange(16..<144, with: [UInt8](repeating: 0, count: 128))
        },
        Lie(testDescription: "a size beyond all files", opcode: lookup) {
            $0.bytes[attributes + 15] = 0x80
        },
        Lie(testDescription: "a type that is none", opcode: lookup) {
            $0.bytes[attributes + 61] |= 0xF0
        },
        Lie(testDescription: "a link to nothing", opcode: readLink) { retarget(&$0, to: []) },
        Lie(testDescription: "a link with NUL in it", opcode: readLink) {
            retarget(&$0, to: Array("docs/a.txt\0".utf8))
        },
        Lie(testDescription: "a link too long", opcode: readLink) {
            retarget(&$0, to: [UInt8](repeating: 0x61, count: Path.maximumLength + 1))
        },
    ]

    @Core private static func retarget(_ reply: inout MockFUSEServer.Reply, to target: [UInt8]) {
        reply.bytes = Array(reply.bytes.prefix(16)) + target
        reply.bytes[0] = UInt8(truncatingIfNeeded: 16 + target.count)
        reply.bytes[1] = UInt8((16 + target.count) >> 8)
    }

    @Core private func share(_ tell: @escaping @Core (inout MockFUSEServer.Reply) -> Void) -> Share
    {
        let tree = MemoryTree()
        tree.addFile("/docs/a.txt", "alpha")
        tree.addSymbolicLink("/link", to: "docs/a.txt")
        tree.addOther("/pipe")
        let share = Share(tree)
        share.server.mangle = tell
        return share
    }

    @Test(arguments: lies) @Core func isATypedError(_ lie: Lie) async throws {
        let share = share { reply in
            if reply.opcode == lie.opcode { lie.tell(&reply) }
        }
        let files = try await share.mount()
        await #expect(throws: lie.error) { try await files.open("/link") }
    }

    @Test(arguments: ["", "a/b", "a\0b", String(repeating: "n", count: 256)])
    @Core func aNameThatIsNoneIsATypedError(_ name: String) async throws {
        let share = share { reply in
            guard reply.opcode == ImpossibleRepliesTests.readDirectory else { return }
            var entry = [UInt8](repeating: 0, count: 24)
            entry[16] = UInt8(truncatingIfNeeded: name.utf8.count)
            entry[17] = UInt8(name.utf8.count >> 8)
            entry[20] = 8
            entry += Array(name.utf8)
            entry += [UInt8](repeating: 0, count: (8 - entry.count % 8) % 8)
            ImpossibleRepliesTests.retarget(&reply, to: entry)
        }
        let directory = try await share.mount().openDirectory("/docs")
        await #expect(throws: FileError.deviceFailed) { try await directory.next() }
    }

    /// Opening a pipe or a device could block the host's daemon, so it is not asked to.
    @Test @Core func whatIsNoFileIsNotOpened() async throws {
        let share = share { _ in }
        let files = try await share.mount()
        await #expect(throws: FileError.permissionDenied) { try await files.open("/pipe") }
        #expect(share.server.operations[14] == nil)
        #expect(share.server.violations == [])
    }
}
