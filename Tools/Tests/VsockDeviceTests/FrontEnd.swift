import CHostShims
import Glibc
import ToroTesting
import VhostUser
import VsockDevice

/// QEMU and the guest in one: the front end's side of a vhost-user session and the driver's side
/// of its rings, on memory of its own. Shares no code with the device; says and writes what a test
/// wants. Everything happens in `settle`, on the test's thread.
final class FrontEnd {
    enum Request: UInt32 {
        case getFeatures = 1, setFeatures = 2, setOwner = 3, setMemoryTable = 5, setSize = 8
        case setAddresses = 9, setBase = 10, getBase = 11, setKick = 12, setCall = 13
        case getProtocolFeatures = 15, setProtocolFeatures = 16, setEnable = 18, getConfig = 24
        case setConfig = 25
    }

    static let receive = 0
    static let transmit = 1
    static let eventIndex: UInt64 = 1 << 29
    static let indirect: UInt64 = 1 << 28
    static let base: UInt64 = 1 << 32 | 1 << 30
    /// Where the front end claims to see the guest's memory.
    static let userBase: UInt64 = 0x7f00_0000_0000
    static let bufferSize = 4096
    private static let buffers = 0x8_0000
    private static let outgoing = 0x4_0000
    private static let outgoingSize = 0x4_0000

    let world: World
    var loop: EventLoop { world.loop }
    let guest: Guest
    let ram: GuestRam
    private(set) var rings: [DriverRing]
    private(set) var socket: Int32
    private var nextOutgoing = FrontEnd.outgoing
    /// Sockets stand in for event descriptors: eight bytes are written and eight are read.
    private var kicks: [(device: Int32, own: Int32)] = []
    private var calls: [(device: Int32, own: Int32)] = []
    /// Why the session ended: once for each end.
    private(set) var ends: [HostError?] = []
    /// Published ports on which the guest was seen to listen.
    private(set) var readyPorts: [UInt32] = []
    /// Published ports on which it did not listen in time.
    private(set) var silentPorts: [UInt32] = []
    /// What the device said of queues that the guest broke.
    private(set) var broken: [HostError] = []

    /// The limits of a guest that nothing is said about.
    static let limits = GuestLimits(bufferSize: 16 << 10)

    /// A front end of `guest`, which lives in `world`, or of one of its own with that address.
    init(
        world: World? = nil, cid: UInt64 = 3, queueSize: UInt16 = 8,
        limits: GuestLimits = limits, guest: Guest? = nil
    ) throws {
        let world = try world ?? World()
        self.world = world
        ram = try GuestRam()
        rings = [
            DriverRing(ram, at: 0x1_0000, size: queueSize),
            DriverRing(ram, at: 0x2_0000, size: queueSize),
        ]
        self.guest = guest ?? Guest(cid: cid, limits: limits, loop: world.loop)
        let connection = try FrontEnd.pair(SOCK_STREAM)
        socket = connection.own
        watch(self.guest)
        try self.guest.attach(connection.device)
        for _ in rings {
            kicks.append(try FrontEnd.pair(SOCK_SEQPACKET))
            calls.append(try FrontEnd.pair(SOCK_SEQPACKET))
        }
    }

    /// Keeps what the device says, and passes it on to whoever was told before.
    private func watch(_ guest: Guest) {
        let (onEnd, onReady, onBroken) = (guest.onEnd, guest.onReady, guest.onBroken)
        guest.onEnd = { [unowned self] in
            ends.append($0)
            onEnd($0)
        }
        guest.onReady = { [unowned self] in
            readyPorts.append($1)
            onReady($0, $1)
        }
        let onSilent = guest.onSilent
        guest.onSilent = { [unowned self] in
            silentPorts.append($1)
            onSilent($0, $1)
        }
        guest.onBroken = { [unowned self] in
            broken.append($0)
            onBroken($0)
        }
    }

    /// Two ends of a connection.
    static func pair(_ type: __socket_type) throws -> (device: Int32, own: Int32) {
        var ends: [Int32] = [-1, -1]
        let kind = Int32(type.rawValue | SOCK_NONBLOCK.rawValue)
        // SAFETY: the call fills in two descriptors.
        guard unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
            throw TestFailure("no socket pair")
        }
        return (ends[0], ends[1])
    }

    deinit {
        guest.onEnd = { _ in }
        guest.end()
        for ends in kicks + calls {
            close(ends.device)
            close(ends.own)
        }
        hangUp()
    }

    /// Closes the connection to the device.
    func hangUp() {
        if socket >= 0 { close(socket) }
        socket = -1
    }

    /// Lets the device do all it can do now.
    func settle() { world.settle() }

    /// Lets time pass until `condition` holds; false if it does not within two seconds.
    func settle(until condition: () -> Bool) -> Bool {
        for _ in 0..<200 {
            settle()
            if condition() { return true }
            world.advance(milliseconds: 10)
        }
        return false
    }

    // MARK: Messages

    static func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T($0 * 8)) }
    }

    /// Sends any bytes, with descriptors.
    func send(raw bytes: [UInt8], files: [Int32] = []) {
        // SAFETY: both arrays are as long as the call is told.
        _ = unsafe toro_send(socket, bytes, bytes.count, files, files.count)
    }

    /// Sends a request and lets the device answer.
    func send(
        _ request: UInt32, _ payload: [UInt8] = [], files: [Int32] = [], flags: UInt32 = 1
    ) {
        let header =
            FrontEnd.bytes(request) + FrontEnd.bytes(flags)
            + FrontEnd.bytes(UInt32(payload.count))
        send(raw: header + payload, files: files)
        settle()
    }

    func send(
        _ request: Request, _ payload: [UInt8] = [], files: [Int32] = [], flags: UInt32 = 1
    ) {
        send(request.rawValue, payload, files: files, flags: flags)
    }

    /// The device's answer to a request; nil if there is none.
    func ask(_ request: Request, _ payload: [UInt8] = [], flags: UInt32 = 1) -> [UInt8]? {
        send(request, payload, flags: flags)
        let bytes = takeAnswer()
        guard bytes.count >= 12, bytes[0..<4].elementsEqual(FrontEnd.bytes(request.rawValue)) else {
            return nil
        }
        return Array(bytes[12...])
    }

    /// What the device has said since the last look.
    func takeAnswer() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 4096)
        // SAFETY: the array is as long as the call is told.
        let count = unsafe recv(socket, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        return Array(bytes.prefix(max(count, 0)))
    }

    /// A memory table of one region.
    static func region(
        guest: UInt64 = 0, size: UInt64 = UInt64(GuestRam.size), user: UInt64 = userBase,
        offset: UInt64 = UInt64(GuestRam.margin)
    ) -> [UInt8] {
        bytes(UInt32(1)) + bytes(UInt32(0)) + bytes(guest) + bytes(size) + bytes(user)
            + bytes(offset)
    }

    /// Does what QEMU does until the guest's driver is running.
    func start(_ features: UInt64 = indirect | eventIndex) {
        send(.setOwner)
        _ = ask(.getFeatures)
        send(.setProtocolFeatures, FrontEnd.bytes(UInt64(1 << 3 | 1 << 9)))
        send(.setFeatures, FrontEnd.bytes(FrontEnd.base | features))
        send(.setMemoryTable, FrontEnd.region(), files: [ram.file])
        for index in rings.indices { start(queue: index) }
    }

    /// Starts a queue with a new, empty ring.
    func start(queue index: Int) {
        rings[index] = DriverRing(
            ram, at: rings[index].descriptors, size: rings[index].size)
        rings[index].clear()
        resume(queue: index, at: 0)
    }

    /// Starts a queue with the ring it had, from that place of the available ring on.
    func resume(queue index: Int, at base: UInt16) {
        let (word, ring) = (FrontEnd.bytes(UInt32(index)), rings[index])
        func user(_ place: Int) -> [UInt8] { FrontEnd.bytes(FrontEnd.userBase + UInt64(place)) }
        send(.setSize, word + FrontEnd.bytes(UInt32(ring.size)))
        send(.setBase, word + FrontEnd.bytes(UInt32(base)))
        send(
            .setAddresses,
            word + FrontEnd.bytes(UInt32(0)) + user(ring.descriptors) + user(ring.used)
                + user(ring.available) + FrontEnd.bytes(UInt64(0)))
        giveKick(index)
        send(.setCall, FrontEnd.bytes(UInt64(index)), files: [calls[index].device])
        send(.setEnable, word + FrontEnd.bytes(UInt32(1)))
    }

    /// Gives the device the descriptor on which it hears of a queue's kicks.
    func giveKick(_ index: Int) {
        send(.setKick, FrontEnd.bytes(UInt64(index)), files: [kicks[index].device])
    }

    /// Stops both queues and starts them with new rings, as when a guest's driver begins anew.
    func restart() {
        for index in rings.indices {
            _ = ask(.getBase, FrontEnd.bytes(UInt32(index)) + FrontEnd.bytes(UInt32(0)))
        }
        for index in rings.indices { start(queue: index) }
    }

    // MARK: The guest's driver

    /// Kicks a queue and lets the device work.
    func kick(_ queue: Int) {
        kickOnly(queue)
        settle()
    }

    /// Kicks a queue; the device has not heard of it yet.
    func kickOnly(_ queue: Int) {
        var one: UInt64 = 1
        // SAFETY: eight bytes of the number.
        _ = unsafe write(kicks[queue].own, &one, 8)
    }

    /// How many interrupts of a queue have come since the last look.
    func takeInterrupts(_ queue: Int) -> Int {
        var (count, word): (Int, UInt64) = (0, 0)
        // SAFETY: eight bytes into the number.
        while unsafe read(calls[queue].own, &word, 8) == 8 { count += 1 }
        return count
    }

    /// Gives the device a buffer for each descriptor of the receive queue.
    func postReceiveBuffers() {
        for index in 0..<Int(rings[FrontEnd.receive].size) { postReceiveBuffer(index) }
        kick(FrontEnd.receive)
    }

    private func postReceiveBuffer(_ index: Int) {
        let ring = rings[FrontEnd.receive]
        let address = FrontEnd.buffers + index * FrontEnd.bufferSize
        ring.describe(
            UInt16(index), UInt64(address), UInt32(FrontEnd.bufferSize), DriverRing.writable, 0)
        ring.offer(head: UInt16(index))
    }

    /// The next packet that the device has written; its buffer goes back.
    func nextPacket() -> VsockPacket? {
        settle()
        guard let (head, written) = rings[FrontEnd.receive].takeUsed() else { return nil }
        let address = FrontEnd.buffers + Int(head) * FrontEnd.bufferSize
        let packet = VsockPacket(ram.read(Int(written), at: address))
        postReceiveBuffer(Int(head))
        kick(FrontEnd.receive)
        return packet
    }

    /// The next packet, which may take the system's time. A program that another test is starting at
    /// this moment has a copy of a client's socket until its `exec`, so that its end is seen late.
    func awaitPacket() -> VsockPacket? {
        let limit = ContinuousClock.now + .seconds(Patience.seconds)
        while ContinuousClock.now < limit {
            if let packet = nextPacket() { return packet }
            try? loop.turn(limit: 10)
        }
        return nil
    }

    /// Sends a packet as the guest would; false if the device did not give its buffer back.
    @discardableResult
    func transmit(_ packet: VsockPacket, indirect: Bool = false) -> Bool {
        guard let head = transmitQuietly(packet, indirect: indirect) else { return false }
        kick(FrontEnd.transmit)
        let ring = rings[FrontEnd.transmit]
        while let used = ring.takeUsed() {
            if used.head == UInt32(head) { return true }
        }
        return false
    }

    /// Puts a packet into the ring without a kick; its head, or nil if there is no room. Packets that
    /// the device has not seen yet lie one behind another.
    @discardableResult
    func transmitQuietly(_ packet: VsockPacket, indirect: Bool = false) -> UInt16? {
        let ring = rings[FrontEnd.transmit]
        while ring.takeUsed() != nil {}
        guard !ring.isFull else { return nil }
        let bytes = packet.bytes
        let end = FrontEnd.outgoing + FrontEnd.outgoingSize
        if nextOutgoing + bytes.count > end { nextOutgoing = FrontEnd.outgoing }
        let address = UInt64(nextOutgoing)
        ram.write(bytes, at: nextOutgoing)
        nextOutgoing += bytes.count
        var parts = [DriverRing.Part(address: address, length: UInt32(min(44, bytes.count)))]
        if bytes.count > 44 {
            parts.append(
                DriverRing.Part(address: address + 44, length: UInt32(bytes.count - 44)))
        }
        return ring.offer(parts, indirect: indirect)
    }

    /// The guest's answer to a packet of the device: same ports, the other way.
    func answer(
        _ packet: VsockPacket, _ operation: UInt16, _ payload: [UInt8] = [], flags: UInt32 = 0
    ) -> VsockPacket {
        var answer = VsockPacket(operation)
        answer.sourceCID = guest.cid
        answer.destinationCID = 2
        answer.sourcePort = packet.destinationPort
        answer.destinationPort = packet.sourcePort
        answer.payload = payload
        answer.flags = flags
        return answer
    }
}
