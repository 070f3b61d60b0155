import Testing
import ToroTesting
import VsockDevice

/// The device with a guest that keeps to the rules (VIRTIO 1.2, 5.10).
@Suite struct DeviceTests {
    static let variants: [UInt64] = [
        0, FrontEnd.indirect, FrontEnd.eventIndex, FrontEnd.indirect | FrontEnd.eventIndex,
    ]

    @Test(arguments: variants) func bytesPassBothWays(_ features: UInt64) throws {
        let rig = try Rig(features: features)
        let (client, request) = try rig.open()
        let front = rig.frontEnd
        var random = SeededRandom(seed: features)
        var passed: UInt32 = 0
        for length in [1, 44, 4052, 4053, 9000, 16_384] {
            let bytes = (0..<length).map { _ in UInt8(random.below(256)) }
            client.send(bytes)
            var arrived: [UInt8] = []
            while arrived.count < length {
                let packet = try #require(front.nextPacket())
                guard packet.operation == 5 else {
                    #expect(packet.operation == 6, "nothing else is due")
                    continue
                }
                #expect(packet.length == UInt32(packet.payload.count))
                arrived += packet.payload
            }
            #expect(arrived == bytes)
            var update = front.answer(request, 6)
            passed += UInt32(length)
            update.forwardCount = passed
            #expect(front.transmit(update))
            var back = front.answer(request, 5, bytes)
            back.forwardCount = passed
            let isIndirect = features & FrontEnd.indirect != 0
            #expect(front.transmit(back, indirect: isIndirect))
            #expect(client.receive() == .bytes(bytes))
        }
        #expect(front.guest.violationCount == 0)
    }

    @Test func clientsWaitUntilTheGuestListens() throws {
        let front = try FrontEnd()
        let port = try PublishedPort(front.guest)
        let client = try Client(port.address)
        front.start()
        front.postReceiveBuffers()
        let probe = try #require(front.nextPacket())
        front.transmit(front.answer(probe, 3))
        #expect(front.readyPorts.isEmpty)
        var again: VsockPacket?
        #expect(
            front.settle {
                again = front.nextPacket()
                return again != nil
            })
        front.transmit(front.answer(try #require(again), 2))
        #expect(front.readyPorts == [PublishedPort.guestPort])
        #expect(front.nextPacket()?.operation == 3)
        #expect(front.nextPacket()?.operation == 1)
        #expect(client.receive() == .nothing)
    }

    @Test func onlyThePortThatIsAskedAnswers() throws {
        let front = try FrontEnd()
        let port = try PublishedPort(front.guest)
        front.start()
        front.postReceiveBuffers()
        var answer = front.answer(try #require(front.nextPacket()), 2)
        answer.sourcePort += 1
        front.transmit(answer)
        #expect(front.readyPorts.isEmpty)
        #expect(try Client(port.address).receive() == .nothing)
    }

    @Test func theGuestsCreditIsKept() throws {
        let rig = try Rig()
        let (client, request) = try rig.open(credit: 100)
        client.send([UInt8](repeating: 7, count: 1000))
        #expect(rig.frontEnd.nextPacket()?.payload.count == 100)
        #expect(rig.frontEnd.nextPacket()?.operation == 7)
        #expect(rig.frontEnd.nextPacket() == nil)
        var update = rig.frontEnd.answer(request, 6)
        update.bufferAllocation = 100
        update.forwardCount = 60
        rig.frontEnd.transmit(update)
        #expect(rig.frontEnd.nextPacket()?.payload.count == 60)
    }

    /// A client that does not read: the device keeps what its credit allows and no more.
    @Test func theDevicesCreditIsADuty() throws {
        let rig = try Rig()
        let (client, request) = try rig.open()
        let limit = Int(request.bufferAllocation)
        var refused = false
        for _ in 0..<1000 where !refused {
            let bytes = [UInt8](repeating: 1, count: 4096)
            rig.frontEnd.transmit(rig.frontEnd.answer(request, 5, bytes))
            while let packet = rig.frontEnd.nextPacket() { refused = packet.operation == 3 }
        }
        #expect(limit == 16 << 10)
        #expect(refused)
        #expect(rig.frontEnd.guest.violationCount == 1)
        _ = client
        #expect(try rig.serves())
    }

    @Test func eachSideFinishesOnItsOwn() throws {
        let rig = try Rig()
        let (client, request) = try rig.open()
        client.finish()
        let shutdown = try #require(rig.frontEnd.nextPacket())
        #expect(shutdown.operation == 4 && shutdown.flags == 2)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 5, [9]))
        #expect(client.receive() == .bytes([9]))
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        #expect(client.isAtEnd())
        #expect(rig.frontEnd.nextPacket()?.operation == 3)
        #expect(rig.frontEnd.guest.openCount == 0)
    }

    @Test func aClientThatLeavesIsForgotten() throws {
        let rig = try Rig()
        let (client, request) = try rig.open()
        client.leave()
        #expect(rig.frontEnd.awaitPacket()?.operation == 4)
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 4, flags: 3))
        #expect(rig.frontEnd.nextPacket()?.operation == 3)
        #expect(rig.frontEnd.guest.openCount == 0)
        #expect(rig.frontEnd.guest.violationCount == 0)
    }

    /// What QEMU does when the guest resets the device or the machine pauses.
    @Test func aStoppedQueueStartsAgain() throws {
        let rig = try Rig()
        let (client, _) = try rig.open()
        let answer = try #require(rig.frontEnd.ask(.getBase, [1, 0, 0, 0, 0, 0, 0, 0]))
        // The response to the probe and the one to the connection.
        #expect(answer == [1, 0, 0, 0, 2, 0, 0, 0])
        #expect(client.isAtEnd())
        rig.frontEnd.restart()
        try rig.listen()
        #expect(try rig.serves())
    }

    /// Parts of the configuration, as a driver with 32-bit accesses asks for them; beyond its end
    /// there is nothing.
    @Test(
        arguments: [
            (0, 8, [0x45, 0x23, 1, 0, 0, 0, 0, 0]), (0, 4, [0x45, 0x23, 1, 0]), (2, 2, [1, 0]),
            (7, 1, [0]), (8, 0, []), (0, 9, nil), (8, 1, nil), (.max, 1, nil),
        ] as [(UInt32, UInt32, [UInt8]?)])
    func theGuestReadsItsAddress(_ offset: UInt32, _ size: UInt32, _ bytes: [UInt8]?) throws {
        let front = try FrontEnd(cid: 0x1_2345)
        front.start()
        let request = FrontEnd.bytes(offset) + FrontEnd.bytes(size) + FrontEnd.bytes(UInt32(0))
        let room = [UInt8](repeating: 0, count: Int(size))
        #expect(front.ask(.getConfig, request + room) == bytes.map { request + $0 } ?? [])
        #expect(front.ends.isEmpty)
    }

    /// The address is the host's to give.
    @Test func theConfigurationIsNotWritten() throws {
        let front = try FrontEnd()
        front.start()
        let request = FrontEnd.bytes(UInt64(8) << 32) + FrontEnd.bytes(UInt32(0))
        let word = FrontEnd.bytes(UInt64(9))
        #expect(front.ask(.setConfig, request + word, flags: 9) == FrontEnd.bytes(UInt64(1)))
        #expect(front.ask(.setConfig, request + word) == nil, "nobody asked for an answer")
        let answer = front.ask(.getConfig, request + [UInt8](repeating: 0, count: 8))
        #expect(answer == request + FrontEnd.bytes(UInt64(3)))
    }

    /// Linux's driver has room for no more than 64 KiB of payload (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE).
    @Test func packetsToTheGuestHave64KiBAtMost() throws {
        let rig = try Rig()
        let front = rig.frontEnd
        let (client, _) = try rig.open(credit: 1 << 20)
        let ring = front.rings[FrontEnd.receive]
        // What was posted before is used up first.
        for index in 0..<8 {
            client.send([UInt8](repeating: UInt8(index), count: 1))
            front.settle()
            #expect(ring.takeUsed() != nil)
        }
        // Pieces of the same memory: buffers of 160 kB each.
        let pieces = (0..<40).map { _ in
            DriverRing.Part(address: 0x6_0000, length: 4096, isWritable: true)
        }
        let upload = client.send([UInt8](repeating: 1, count: 200_000))
        for _ in 0..<8 { ring.offer(pieces, indirect: true) }
        front.kick(FrontEnd.receive)
        var lengths: [Int] = []
        while let used = ring.takeUsed() { lengths.append(Int(used.written) - 44) }
        #expect(upload > 128 << 10)
        #expect(lengths.max() == 64 << 10)
        #expect(lengths.reduce(0, +) == upload)
    }

    /// The specification sets no limit for the guest but its credit.
    @Test func longPacketsOfTheGuestAreWhole() throws {
        let rig = try Rig(limits: GuestLimits())
        let (client, request) = try rig.open()
        let bytes = (0..<100_000).map { UInt8($0 % 251) }
        rig.frontEnd.transmit(rig.frontEnd.answer(request, 5, bytes))
        var arrived: [UInt8] = []
        while arrived.count < bytes.count, case .bytes(let more) = client.next() { arrived += more }
        #expect(arrived == bytes)
        #expect(rig.frontEnd.guest.violationCount == 0)
    }
}
