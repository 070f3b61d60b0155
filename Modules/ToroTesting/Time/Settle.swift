import ToroCore

/// Lets all other tasks run until each of them waits: on a host by `HostRunLoop.settle`, in a
/// guest by yielding 64 times.
@Core func settle() async {
    #if hasFeature(Embedded)
    for _ in 0..<64 { await Task.yield() }
    #else
    await HostRunLoop.shared.settle()
    #endif
}
