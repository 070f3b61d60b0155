import CHostShims
import Glibc

/// The back end's side of a vhost-user connection, as QEMU 7.2 and later speak it: negotiates,
/// maps the guest's memory, and keeps the rings.
public final class VhostUserSession: EventSource {
    private static let version1: UInt64 = 1 << 32
    private static let protocolFeaturesBit: UInt64 = 1 << 30
    /// VHOST_USER_PROTOCOL_F_REPLY_ACK and _CONFIG.
    private static let protocolFeatures: UInt64 = 1 << 3 | 1 << 9

    private let loop: EventLoop
    private let socket: Int32
    private unowned let backend: any VhostUserBackend
    private var registration: EventLoop.Registration?
    private var queues: [Queue]
    private var memory: GuestMemory?
    private var features: UInt64 = 0

    // The message under way.
    private var header: [UInt8] = []
    private var payload: [UInt8] = []
    private var files: [Int32] = []

    /// What is known of a queue.
    private struct Queue {
        var size: UInt16 = 0
        var base: UInt16 = 0
        var addresses: (descriptors: UInt64, available: UInt64, used: UInt64)?
        var isEnabled = false
        var kick: Int32 = -1
        var kicker: Kicker?
        var registration: EventLoop.Registration?
        var call: Int32 = -1
        var ring: Vring?
        var watch: SignalWatch?
    }

    /// Hears of one queue's kicks.
    private final class Kicker: EventSource {
        unowned let session: VhostUserSession
        let index: Int

        init(_ session: VhostUserSession, _ index: Int) {
            self.session = session
            self.index = index
        }

        func handle(_ events: Events) { session.kicked(index) }
    }

    /// Serves the front end at the other end of `socket`, which the session closes.
    public init(
        _ socket: Int32, loop: EventLoop, backend: any VhostUserBackend
    ) throws(HostError) {
        self.loop = loop
        self.socket = socket
        self.backend = backend
        queues = Array(repeating: Queue(), count: backend.queueCount)
        registration = try loop.add(socket, .readable, self)
    }

    deinit { close(socket) }

    /// A queue's ring while it can be used.
    public func ring(_ index: Int) -> Vring? { queues[index].ring }

    /// Shows the guest what was completed, with an interrupt if it wants one; again if it does not
    /// notice.
    public func signal(_ index: Int) {
        guard let ring = queues[index].ring, ring.hasNews else { return }
        if ring.publish() { call(index) }
        queues[index].watch?.shown()
    }

    private func call(_ index: Int) {
        guard queues[index].call >= 0 else { return }
        var one: UInt64 = 1
        // SAFETY: eight bytes of the number.
        _ = unsafe write(queues[index].call, &one, 8)
    }

    private func watch(_ ring: Vring, _ index: Int) -> SignalWatch {
        SignalWatch(ring, loop: loop) { [unowned self] in
            // What the front end has not read yet is not lost, only late.
            guard toro_is_unread(queues[index].call) == 0 else { return false }
            call(index)
            return true
        } found: { [unowned self] in
            backend.signalWasLate(index)
        }
    }

    /// Stops using a ring whose guest broke the rules, until the front end starts it again.
    public func abandon(_ index: Int) { stop(index) }

    /// Ends the session.
    public func end(_ reason: HostError? = nil) {
        guard let registration else { return }
        self.registration = nil
        loop.remove(registration)
        for index in queues.indices {
            stop(index)
            replaceKick(index, by: -1)
            replaceCall(index, by: -1)
        }
        for file in files { close(file) }
        files.removeAll()
        memory = nil
        backend.disconnected(reason)
    }

    // MARK: Messages

    /// Called by the event loop: reads and answers what the front end has sent.
    public func handle(_ events: Events) {
        do throws(HostError) {
            while registration != nil, let message = try receive() {
                let files = self.files
                self.files.removeAll()
                try answer(message, files)
            }
        } catch {
            end(error.description.isEmpty ? nil : error)
        }
    }

    /// The next whole message; nil if there is none yet.
    private func receive() throws(HostError) -> VhostUserMessage? {
        if header.count < VhostUserMessage.headerSize {
            guard try fill(&header, VhostUserMessage.headerSize) else { return nil }
        }
        let parsed = VhostUserMessage(request: 0, flags: 0, payload: header)
        let size = Int(parsed.number(at: 8, as: UInt32.self) ?? 0)
        guard size <= VhostUserMessage.payloadLimit else {
            throw HostError("the front end announced a message of \(size) bytes")
        }
        if payload.count < size {
            guard try fill(&payload, size) else { return nil }
        }
        let message = VhostUserMessage(
            request: parsed.number(at: 0) ?? 0, flags: parsed.number(at: 4) ?? 0, payload: payload)
        header.removeAll()
        payload.removeAll()
        return message
    }

    /// Reads until `bytes` has `count`; false if that takes longer. An empty error is the end.
    private func fill(_ bytes: inout [UInt8], _ count: Int) throws(HostError) -> Bool {
        while bytes.count < count {
            var part = [UInt8](repeating: 0, count: count - bytes.count)
            var descriptors = [Int32](repeating: -1, count: 16)
            var descriptorCount = descriptors.count
            // SAFETY: both arrays are as long as the call is told.
            let result = unsafe toro_receive(
                socket, &part, part.count, &descriptors, &descriptorCount)
            files += descriptors.prefix(descriptorCount)
            guard files.count <= GuestMemory.regionLimit else {
                throw HostError("the front end sent too many descriptors with one message")
            }
            if result > 0 {
                bytes += part.prefix(result)
            } else if result == 0 {
                throw HostError(bytes.isEmpty ? "" : "the front end left within a message")
            } else if errno == EAGAIN {
                return false
            } else if errno == ECONNRESET {
                throw HostError("")
            } else if errno != EINTR {
                throw .system("cannot read from the front end")
            }
        }
        return true
    }

    private func send(_ bytes: [UInt8]) throws(HostError) {
        // SAFETY: the array is as long as the call is told.
        let count = unsafe toro_send(socket, bytes, bytes.count, nil, 0)
        guard count == bytes.count else { throw .system("cannot answer the front end") }
    }

    private func answer(_ message: VhostUserMessage, _ files: [Int32]) throws(HostError) {
        var left = files
        defer { for file in left { close(file) } }
        guard message.isVersion1, let request = VhostUserRequest(rawValue: message.request) else {
            throw HostError("the front end sent request \(message.request), which is not served")
        }
        switch request {
        case .getFeatures:
            let offered =
                backend.deviceFeatures | VhostUserSession.version1
                | VhostUserSession.protocolFeaturesBit | Vring.indirectFeature
                | Vring.eventIndexFeature
            try send(message.reply(offered.littleEndianBytes))
            return
        case .getProtocolFeatures:
            try send(message.reply(VhostUserSession.protocolFeatures.littleEndianBytes))
            return
        case .getQueueNumber:
            try send(message.reply(UInt64(queues.count).littleEndianBytes))
            return
        case .getConfig:
            try send(message.reply(try configuration(message)))
            return
        case .setConfig:
            // The device's configuration is the host's alone.
            if message.needsReply { try send(message.reply(UInt64(1).littleEndianBytes)) }
            return
        case .getVringBase:
            let index = try queue(message)
            halt(index)
            replaceKick(index, by: -1)
            try send(
                message.reply(
                    UInt32(index).littleEndianBytes + UInt32(queues[index].base).littleEndianBytes))
            return
        case .setMemoryTable:
            try setMemory(message, files)
        case .setVringKick, .setVringCall, .setVringError:
            if try setFile(message, request, files) { left.removeAll() }
        default: try set(message, request)
        }
        if message.needsReply { try send(message.reply(UInt64(0).littleEndianBytes)) }
    }

    private func set(
        _ message: VhostUserMessage, _ request: VhostUserRequest
    ) throws(HostError) {
        switch request {
        case .setFeatures:
            features = message.number(at: 0) ?? 0
            for index in queues.indices { startIfReady(index) }
        case .setVringNumber:
            let index = try queue(message)
            guard let size = message.number(at: 4, as: UInt32.self), size <= 1024 else {
                throw HostError("queue \(index) is longer than 1024")
            }
            queues[index].size = UInt16(size)
        case .setVringBase:
            let index = try queue(message)
            queues[index].base = UInt16(
                truncatingIfNeeded: message.number(at: 4, as: UInt32.self) ?? 0)
        case .setVringAddress:
            let index = try queue(message)
            guard let descriptors: UInt64 = message.number(at: 8),
                let used: UInt64 = message.number(at: 16),
                let available: UInt64 = message.number(at: 24)
            else { throw HostError("the addresses of queue \(index) are cut short") }
            queues[index].addresses = (descriptors, available, used)
            startIfReady(index)
        case .setVringEnable:
            let index = try queue(message)
            queues[index].isEnabled = message.number(at: 4, as: UInt32.self) == 1
            if queues[index].isEnabled { startIfReady(index) } else { halt(index) }
        default: break
        }
    }

    private func queue(_ message: VhostUserMessage) throws(HostError) -> Int {
        guard let index: UInt32 = message.number(at: 0), Int(index) < queues.count else {
            throw HostError("the front end named a queue that there is not")
        }
        return Int(index)
    }

    private func configuration(_ message: VhostUserMessage) throws(HostError) -> [UInt8] {
        guard let offset: UInt32 = message.number(at: 0), let size: UInt32 = message.number(at: 4),
            size <= 256, message.payload.count == 12 + Int(size)
        else { throw HostError("the front end asked for a configuration that cannot be") }
        let whole = backend.configuration
        // An answer without a payload says that there is no such part.
        guard Int(offset) + Int(size) <= whole.count else { return [] }
        return Array(message.payload.prefix(12) + whole[Int(offset)..<Int(offset) + Int(size)])
    }

    private func setMemory(_ message: VhostUserMessage, _ files: [Int32]) throws(HostError) {
        guard let count: UInt32 = message.number(at: 0), count <= GuestMemory.regionLimit else {
            throw HostError(
                "the front end sent more than \(GuestMemory.regionLimit) memory regions")
        }
        var regions: [GuestMemory.Region] = []
        for index in 0..<Int(count) {
            let place = 8 + 32 * index
            guard let guest: UInt64 = message.number(at: place),
                let size: UInt64 = message.number(at: place + 8),
                let user: UInt64 = message.number(at: place + 16),
                let offset: UInt64 = message.number(at: place + 24)
            else { throw HostError("the memory table is cut short") }
            regions.append(
                GuestMemory.Region(
                    guestAddress: guest, size: size, userAddress: user, fileOffset: offset))
        }
        let running = queues.indices.filter { queues[$0].ring != nil }
        for index in running { stop(index) }
        memory = try GuestMemory(regions, files: files)
        for index in queues.indices { startIfReady(index) }
    }

    private func setFile(
        _ message: VhostUserMessage, _ request: VhostUserRequest, _ files: [Int32]
    ) throws(HostError) -> Bool {
        guard let word: UInt64 = message.number(at: 0), Int(word & 0xff) < queues.count else {
            throw HostError("the front end named a queue that there is not")
        }
        let index = Int(word & 0xff)
        let isAbsent = word & 0x100 != 0
        guard isAbsent || files.count == 1 else {
            throw HostError("the front end sent \(files.count) descriptors for one")
        }
        let file = isAbsent ? -1 : files[0]
        if file >= 0 { _ = fcntl(file, F_SETFL, fcntl(file, F_GETFL) | O_NONBLOCK) }
        switch request {
        case .setVringKick:
            guard file >= 0 else { throw HostError("polling for kicks is not supported") }
            // The loop may refuse the descriptor, which then is still the message's to close.
            let kicker = Kicker(self, index)
            let registration = try loop.add(file, .readable, kicker)
            replaceKick(index, by: file)
            queues[index].kicker = kicker
            queues[index].registration = registration
            startIfReady(index)
        case .setVringCall: replaceCall(index, by: file)
        default: return false
        }
        return file >= 0
    }

    // MARK: Queues

    private func replaceKick(_ index: Int, by file: Int32) {
        if let registration = queues[index].registration { loop.remove(registration) }
        queues[index].registration = nil
        queues[index].kicker = nil
        if queues[index].kick >= 0 { close(queues[index].kick) }
        queues[index].kick = file
    }

    private func replaceCall(_ index: Int, by file: Int32) {
        if queues[index].call >= 0 { close(queues[index].call) }
        queues[index].call = file
    }

    private func startIfReady(_ index: Int) {
        let queue = queues[index]
        guard queue.ring == nil, queue.kick >= 0, let addresses = queue.addresses, let memory,
            queue.isEnabled || features & VhostUserSession.protocolFeaturesBit == 0
        else { return }
        queues[index].ring = Vring(
            memory, size: queue.size, descriptors: addresses.descriptors,
            available: addresses.available, used: addresses.used, base: queue.base,
            features: features)
        guard let ring = queues[index].ring else { return }
        queues[index].watch = watch(ring, index)
        backend.queueStarted(index)
    }

    /// Stops a queue because the front end wants it: what the guest has offered before is taken.
    private func halt(_ index: Int) {
        guard queues[index].ring != nil else { return }
        backend.queueStops(index)
        stop(index)
    }

    private func stop(_ index: Int) {
        guard let ring = queues[index].ring else { return }
        queues[index].base = ring.nextAvailable
        queues[index].watch?.end()
        queues[index].watch = nil
        queues[index].ring = nil
        backend.queueStopped(index)
    }

    private func kicked(_ index: Int) {
        var count: UInt64 = 0
        // SAFETY: eight bytes into the number.
        guard unsafe read(queues[index].kick, &count, 8) == 8 else { return }
        if queues[index].ring != nil { backend.queueKicked(index) }
    }
}
