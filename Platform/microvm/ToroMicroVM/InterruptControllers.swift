#if hasFeature(Embedded)
import CMicroVM

/// This core's local APIC (Intel SDM volume 3, chapter 10), at its usual address.
enum LocalAPIC {
    /// The address of the registers.
    static let base: UInt64 = 0xfee0_0000

    private static let spurious: UInt64 = 0xf0
    private static let commandLow: UInt64 = 0x300
    private static let commandHigh: UInt64 = 0x310
    private static let timer: UInt64 = 0x320
    private static let lint0: UInt64 = 0x350
    private static let lint1: UInt64 = 0x360
    private static let initialCount: UInt64 = 0x380
    private static let currentCount: UInt64 = 0x390
    private static let divide: UInt64 = 0x3e0
    private static let masked: UInt32 = 1 << 16
    private static let periodic: UInt32 = 1 << 17
    private static let nmi: UInt32 = 4 << 8
    private static let deliveryPending: UInt32 = 1 << 12

    /// The id of the running core.
    static var id: UInt32 { toro_load32(base + 0x20) >> 24 }

    /// Enables the APIC; LINT1 delivers NMIs, the timer is one-shot and stopped.
    static func start() {
        toro_store32(base + spurious, 0x100 | UInt32(TORO_TRAP_STUBS - 1))
        toro_store32(base + lint0, masked)
        toro_store32(base + lint1, nmi)
        toro_store32(base + divide, 0b1011)
        toro_store32(base + timer, UInt32(TORO_TIMER_VECTOR))
        toro_store32(base + initialCount, 0)
    }

    /// Interrupts this core once after `ticks`; 0 stops the timer.
    static func setTimer(_ ticks: UInt32) { toro_store32(base + initialCount, ticks) }

    /// Interrupts this core every `period + 1` ticks from now on.
    static func startTimer(period: UInt32) {
        toro_store32(base + timer, UInt32(TORO_TIMER_VECTOR) | periodic)
        setTimer(period)
    }

    /// Stops the timer that interrupts again and again.
    static func stopPeriodicTimer() {
        setTimer(0)
        toro_store32(base + timer, UInt32(TORO_TIMER_VECTOR))
    }

    /// The ticks left.
    static var timerCount: UInt32 { toro_load32(base + currentCount) }

    /// Interrupts the core with APIC id `target`.
    static func wake(_ target: UInt64) { send(to: target, UInt32(TORO_WAKE_VECTOR)) }

    /// The INIT and start-up interrupts that make a core begin at `page * 4096`
    /// (SDM volume 3, 8.4.4.1).
    static func start(_ target: UInt64, page: UInt8, wait: (_ microseconds: UInt64) -> Void) {
        send(to: target, 0x4500)
        wait(200)
        for _ in 0..<2 {
            send(to: target, 0x4600 | UInt32(page))
            wait(200)
        }
    }

    private static func send(to target: UInt64, _ command: UInt32) {
        toro_store32(base + commandHigh, UInt32(target) << 24)
        toro_store32(base + commandLow, command)
        var patience = 100_000
        while patience > 0, toro_load32(base + commandLow) & deliveryPending != 0 {
            toro_relax()
            patience -= 1
        }
    }
}

/// The I/O APIC that serves the device lines (82093AA datasheet).
enum IOAPIC {
    /// The address of the index register: the datasheet's default, where microvm has it always.
    static let base: UInt64 = 0xfec0_0000

    /// Sends `line`, edge-triggered, to `vector` of the core with APIC id `target`.
    static func route(line: UInt32, to vector: UInt8, core target: UInt32) {
        write(0x10 + line * 2 + 1, target << 24)
        write(0x10 + line * 2, UInt32(vector))
    }

    private static func write(_ index: UInt32, _ value: UInt32) {
        toro_store32(base, index)
        toro_store32(base + 0x10, value)
    }
}
#endif
