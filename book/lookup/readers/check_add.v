// Reads add_body.hex and compares a module with its last column. A row has,
// from the upper bits: qa 8, qb 8, sa 64, za 8, sb 64, zb 8, s 64, z 8, q 8.
// Scales are constants in most designs: their bits choose one.
module check_add;
  parameter ROWS = 448;
  reg [239:0] rows [0:ROWS-1];
  reg [239:0] row;
  wire [7:0] q;
  integer i, differ;

  add dut (.qa(row[239:232]), .qb(row[231:224]),
           .sa(row[223:160]), .za(row[159:152]),
           .sb(row[151:88]), .zb(row[87:80]),
           .s(row[79:16]), .z(row[15:8]), .q(q));

  initial begin
    $readmemh("add_body.hex", rows);
    differ = 0;
    for (i = 0; i < ROWS; i = i + 1) begin
      row = rows[i];
      #1 if (q !== row[7:0]) differ = differ + 1;
    end
    $display("%0d rows, %0d differ", ROWS, differ);
    $finish;
  end
endmodule
