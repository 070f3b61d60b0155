import ToroCore
import ToroMicroVM
import ToroVirtio

/// A guest that wants to become root of its host: over the share "site" it asks for files that would
/// help, in requests that no file system of its own would make (`linux/fuse.h`).
enum Intruder {
    @Core static var experiments: [Experiment] {
        [
            Experiment("intruder") { vm throws(ProbeError) in try intrude(vm) },
            Experiment("changes") { vm throws(ProbeError) in try change(vm) },
        ]
    }

    private enum Opcode {
        static var lookup: UInt32 { 1 }
        static var setAttributes: UInt32 { 4 }
        static var makeLink: UInt32 { 6 }
        static var makeNode: UInt32 { 8 }
        static var makeFolder: UInt32 { 9 }
        static var unlink: UInt32 { 10 }
        static var removeFolder: UInt32 { 11 }
        static var rename: UInt32 { 12 }
        static var link: UInt32 { 13 }
        static var open: UInt32 { 14 }
        static var write: UInt32 { 16 }
        static var setExtendedAttribute: UInt32 { 21 }
        static var initialize: UInt32 { 26 }
        static var create: UInt32 { 35 }
    }

    private enum Mode {
        static var regular: UInt32 { 0o100000 }
        static var character: UInt32 { 0o020000 }
        static var block: UInt32 { 0o060000 }
        static var pipe: UInt32 { 0o010000 }
        static var setUser: UInt32 { 0o4755 }
        static var setGroup: UInt32 { 0o2755 }
        static var plain: UInt32 { 0o644 }
    }

    /// Prints the error number that each request got, 0 if the host did it.
    @Core private static func intrude(_ vm: MicroVM) throws(ProbeError) {
        let fuse = try RawFUSE(vm)
        _ = try fuse.ask(Opcode.initialize, node: 0, [7, 31, 1 << 20, 0])

        func report(_ what: StaticString, _ reply: RawFUSE.Reply) {
            print("intruder: \(what) \(reply.error)")
        }
        func create(_ name: StaticString, _ mode: UInt32) throws(ProbeError) -> RawFUSE.Reply {
            // O_CREAT and O_RDWR, the mode, no umask.
            try fuse.ask(Opcode.create, node: 1, [0o102, Mode.regular | mode, 0, 0], name)
        }
        func makeNode(_ name: StaticString, _ mode: UInt32) throws(ProbeError) -> RawFUSE.Reply {
            // Device 1:3, which is /dev/null.
            try fuse.ask(Opcode.makeNode, node: 1, [mode | 0o666, 0x103, 0, 0], name)
        }
        func setMode(_ node: UInt64, _ mode: UInt32) throws(ProbeError) -> RawFUSE.Reply {
            var words = [UInt32](repeating: 0, count: 22)
            words[0] = 1  // FATTR_MODE
            words[17] = mode
            return try fuse.ask(Opcode.setAttributes, node: node, words)
        }

        report("create-plain", try create("plain", Mode.plain))
        report("create-set-user", try create("made-set-user", Mode.setUser))
        report("create-set-group", try create("made-set-group", Mode.setGroup))
        let node = try fuse.ask(Opcode.lookup, node: 1, [], "plain").node
        report("mode-set-user", try setMode(node, Mode.regular | Mode.setUser))
        report("mode-set-group", try setMode(node, Mode.regular | Mode.setGroup))
        report("mode-plain", try setMode(node, Mode.regular | 0o755))
        report("node-character", try makeNode("character", Mode.character))
        report("node-block", try makeNode("block", Mode.block))
        report("node-set-user", try makeNode("node", Mode.regular | Mode.setUser))
        report("node-pipe", try makeNode("pipe", Mode.pipe))
        report(
            "capability",
            try fuse.ask(
                Opcode.setExtendedAttribute, node: node, [20, 0], "security.capability",
                [0x0200_0000, 0x80, 0, 0, 0]))
        // A program of the host's that runs as its owner, which the guest may write.
        let program = try fuse.ask(Opcode.lookup, node: 1, [], "program").node
        let opened = try fuse.ask(Opcode.open, node: program, [1, 0])
        report("open-program", opened)
        report(
            "write-program",
            try fuse.ask(
                Opcode.write, node: program,
                [
                    UInt32(truncatingIfNeeded: opened.node),
                    UInt32(truncatingIfNeeded: opened.node >> 32), 0, 0, 4, 0, 0, 0, 1, 0,
                    0x6c697665,
                ]))
    }

    /// Asks for every other change of the files "plain" and "program" and the folder "folder", and
    /// prints the error numbers.
    @Core private static func change(_ vm: MicroVM) throws(ProbeError) {
        let fuse = try RawFUSE(vm)
        _ = try fuse.ask(Opcode.initialize, node: 0, [7, 31, 1 << 20, 0])
        // The C virtiofsd removes what it has looked up.
        for name: StaticString in ["program", "folder"] {
            _ = try fuse.ask(Opcode.lookup, node: 1, [], name)
        }
        let plain = try fuse.ask(Opcode.lookup, node: 1, [], "plain").node

        func report(_ what: StaticString, _ reply: RawFUSE.Reply) {
            print("changes: \(what) \(reply.error)")
        }
        func set(_ valid: UInt32, _ index: Int, _ value: UInt32) throws(ProbeError) -> RawFUSE.Reply
        {
            var words = [UInt32](repeating: 0, count: 22)
            words[0] = valid
            words[index] = value
            return try fuse.ask(Opcode.setAttributes, node: plain, words)
        }

        // O_TRUNC beside O_RDONLY.
        report("open-truncate", try fuse.ask(Opcode.open, node: plain, [0o1000, 0]))
        report("truncate", try set(1 << 3, 4, 0))
        report("owner", try set(1 << 1, 19, 1))
        report("time", try set(1 << 5, 10, 1))
        report("mode", try set(1 << 0, 17, 0o100600))
        report("folder", try fuse.ask(Opcode.makeFolder, node: 1, [0o755, 0], "new"))
        report("symbolic-link", try fuse.ask(Opcode.makeLink, node: 1, [], "new\0plain"))
        report(
            "link",
            try fuse.ask(
                Opcode.link, node: 1,
                [UInt32(truncatingIfNeeded: plain), UInt32(truncatingIfNeeded: plain >> 32)], "new")
        )
        report("rename", try fuse.ask(Opcode.rename, node: 1, [1, 0], "plain\0new"))
        report("unlink", try fuse.ask(Opcode.unlink, node: 1, [], "program"))
        report("remove-folder", try fuse.ask(Opcode.removeFolder, node: 1, [], "folder"))
    }
}

/// A virtio-fs device that is asked for one thing at a time, whatever that is.
@Core private final class RawFUSE {
    struct Reply {
        /// An error number of Linux.
        let error: Int
        /// What a reply begins with that names a node or a handle.
        let node: UInt64
    }

    private let transport: any VirtioTransport
    private var queue: Virtqueue
    // The device looks at this one, too.
    private let forgets: Virtqueue

    init(_ vm: MicroVM) throws(ProbeError) {
        for slot in 0..<vm.slotCount {
            do throws(VirtioError) {
                guard let transport = try vm.device(inSlot: slot),
                    transport.deviceID == .fileSystem
                else { continue }
                var setup = try VirtioSetup(transport, required: .version1, optional: [])
                forgets = try setup.makeQueue(0, size: 16)
                queue = try setup.makeQueue(1, size: 16)
                setup.finish()
                self.transport = transport
                return
            } catch {
                throw .failed(error.explanation)
            }
        }
        throw .failed("there is no share")
    }

    /// Sends a request of `words`, `name` and `more` words, and waits for its reply.
    func ask(
        _ opcode: UInt32, node: UInt64, _ words: [UInt32], _ name: StaticString? = nil,
        _ more: [UInt32] = []
    ) throws(ProbeError) -> Reply {
        let nameLength = name.map { $0.utf8CodeUnitCount + 1 } ?? 0
        let length = 40 + 4 * words.count + nameLength + 4 * more.count
        do throws(OutOfMemory) {
            var message = try IOBuffer(capacity: length + 512)
            func append(_ word: UInt32) {
                for shift: UInt32 in [0, 8, 16, 24] {
                    message.append(UInt8(truncatingIfNeeded: word >> shift))
                }
            }
            append(UInt32(length))
            append(opcode)
            for word: UInt32 in [2, 0] { append(word) }
            append(UInt32(truncatingIfNeeded: node))
            append(UInt32(truncatingIfNeeded: node >> 32))
            // User, group and process 0: root.
            for _ in 0..<4 { append(0) }
            for word in words { append(word) }
            if let name {
                message.append(name)
                message.append(0)
            }
            for word in more { append(word) }
            let segments: InlineArray<2, VirtqueueSegment> = [
                .readable(message.deviceAddress, message.count),
                .writable(message.freeDeviceAddress, message.freeCapacity),
            ]
            guard queue.add(segments.span) != nil else { throw OutOfMemory(requested: 0) }
            if queue.publish() { transport.notify(queue: 1) }
            let written = try wait()
            message.removeFirst(message.count)
            message.didFill(written)
            let bytes = message.bytes
            func load(_ offset: Int) -> UInt64 {
                var value: UInt64 = 0
                for index in (0..<8).reversed() where offset + index < bytes.byteCount {
                    // SAFETY: the index is below the count.
                    value =
                        value << 8
                        | UInt64(
                            unsafe bytes.unsafeLoad(
                                fromByteOffset: offset + index, as: UInt8.self))
                }
                return value
            }
            let error = Int32(truncatingIfNeeded: load(0) >> 32)
            return Reply(error: Int(-error), node: load(16))
        } catch {
            throw .failed("the device does not answer")
        }
    }

    private func wait() throws(OutOfMemory) -> Int {
        let limit = Core.clock.now + .seconds(20)
        while Core.clock.now < limit {
            do throws(VirtqueueError) {
                if let (_, written) = try queue.popUsed() { return written }
            } catch {
                break
            }
        }
        throw OutOfMemory(requested: 0)
    }
}
