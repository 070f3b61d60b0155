import ToroCore

/// Memory that is lost on purpose: a device was given it and has not confirmed its reset, so that it
/// may still write there. Whatever used it next would be overwritten.
public enum LostMemory {
    /// Keeps a driver, and all that it holds for its device, for as long as the machine runs, and
    /// says so on the console.
    @Core public static func keep(_ driver: AnyObject) {
        print(
            """
            toro: a virtio device failed and does not confirm its reset; the memory that it may \
            still write to is lost until the guest is started again
            """)
        // SAFETY: nobody takes this reference back, which is the purpose.
        _ = unsafe Unmanaged.passRetained(driver)
    }
}
