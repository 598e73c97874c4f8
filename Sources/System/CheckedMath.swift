// Arithmetic on numbers from a file: the answer, or nothing when it does not fit.

/// Product of non-negative counts, or nil when one is negative or the product does not fit.
package func checkedProduct(_ factors: [Int]) -> Int? {
  var product = 1
  for factor in factors {
    if factor < 0 { return nil }
    let (next, overflow) = product.multipliedReportingOverflow(by: factor)
    if overflow { return nil }
    product = next
  }
  return product
}

/// Sum of non-negative numbers, or nil when one is negative or the sum does not fit.
package func checkedSum(_ terms: Int...) -> Int? {
  var sum = 0
  for term in terms {
    if term < 0 { return nil }
    let (next, overflow) = sum.addingReportingOverflow(term)
    if overflow { return nil }
    sum = next
  }
  return sum
}
