struct _P {}
package struct SegmentationError: Error { package enum Reason { case model(String) }; package var reason: Reason; package init(_ r: Reason) { reason = r } }
